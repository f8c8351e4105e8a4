{# Draws the charts of a page; choosePoint(plot, point) is the page's own. #}
// Charts. A finger scrolls the page, a mouse may zoom.
const touches = matchMedia("(pointer: coarse)").matches;
const sources = [...document.querySelectorAll("[data-plot]")];
const figures = new Map(sources.map(source => [find(source.dataset.plot), JSON.parse(source.textContent)]));
function draw(plot) {
  const figure = figures.get(plot);
  if (plot.data) return;
  if (touches) figure.layout.dragmode = false;
  Plotly.newPlot(plot, figure.data, figure.layout, {
    responsive: true, displaylogo: false, displayModeBar: touches ? false : "hover",
    modeBarButtons: [["toImage", "resetScale2d"]],
  });
  plot.on("plotly_click", event => choosePoint(plot, event.points[0]));
}
// Those out of sight wait until they come near.
const near = new IntersectionObserver(entries => entries.filter(entry => entry.isIntersecting).forEach(entry => {
  near.unobserve(entry.target);
  draw(entry.target);
}), {rootMargin: "600px"});
for (const [plot, figure] of figures) plot.style.minHeight = `${figure.layout.height}px`;
// The library takes longer than all else, which can be read meanwhile.
addEventListener("load", () => requestAnimationFrame(() => setTimeout(() => {
  document.head.append(make("script", {text: find("plotly").textContent}));
  for (const plot of figures.keys()) near.observe(plot);
  addEventListener("beforeprint", () => [...figures.keys()].forEach(draw));
})));
