"use strict";

// Keys, and pictures that enlarge. Without this file all that is answered can be answered as well.

const keyed = new Map();
for (const element of document.querySelectorAll("[data-key]"))
  for (const key of element.dataset.key.split(" ")) keyed.set(key, element);

const questions = document.querySelector("form[data-questions]");
const reasons = document.getElementById("reasons");
const zoom = document.getElementById("zoom");
const pictures = [...document.querySelectorAll("[data-zoom]")];

// Digits by their place, since with Shift they are other characters; letters by what they are.
function nameOf(event) {
  const digit = /^(?:Digit|Numpad)(\d)$/.exec(event.code);
  const shift = event.shiftKey ? "shift+" : "";
  return digit ? shift + digit[1] : event.key.toLowerCase();
}

function isAnswered() {
  const groups = new Set([...questions.querySelectorAll("input[type=radio]")].map((one) => one.name));
  return [...groups].every((name) => questions.querySelector(`input[name="${name}"]:checked`));
}

function press(element) {
  if (element.type === "radio") {
    element.checked = true;
    element.focus();
    // What is left to do is to say why.
    if (isAnswered() && !reasons.value) reasons.focus();
  } else if (element.type === "text") {
    element.focus();
    element.select();
  } else {
    element.click();
  }
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing || zoom?.open) return;
  const at = document.activeElement;
  if (at?.type === "text") {
    if (event.key === "Escape") at.blur();
    return;
  }
  const key = nameOf(event);
  if (key === "enter" && at?.closest("button, a, summary")) return;
  const element = keyed.get(key);
  if (element) {
    event.preventDefault();
    press(element);
  } else if (key === "e" && pictures.length) {
    event.preventDefault();
    enlarge(0);
  }
});

// A second press must not send what is on its way already.
for (const form of document.forms)
  form.addEventListener("submit", (event) => {
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = "yes";
  });
window.addEventListener("pageshow", () => {
  for (const form of document.forms) delete form.dataset.sent;
});

let shown = 0;

function enlarge(place) {
  shown = (place + pictures.length) % pictures.length;
  const small = pictures[shown].querySelector("img");
  const large = zoom.querySelector("img");
  large.src = small.src;
  large.alt = small.alt;
  zoom.querySelector("span").textContent = small.alt;
  if (!zoom.open) zoom.showModal();
}

pictures.forEach((picture, place) => picture.addEventListener("click", () => enlarge(place)));

zoom?.addEventListener("click", (event) => {
  const turn = event.target.closest("[data-turn]");
  if (turn) enlarge(shown + Number(turn.dataset.turn));
  else if (event.target === zoom || event.target.tagName === "IMG" || event.target.closest("[data-close]")) zoom.close();
});
zoom?.addEventListener("keydown", (event) => {
  if (event.key === "ArrowRight") enlarge(shown + 1);
  if (event.key === "ArrowLeft") enlarge(shown - 1);
  if (event.key === "e") zoom.close();
});
zoom?.addEventListener("close", () => pictures[shown].focus({ preventScroll: true }));
