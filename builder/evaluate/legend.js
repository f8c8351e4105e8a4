{# Charts whose ids begin with scatter have a trace for each group, in the order of the legend. #}
document.querySelectorAll(".legend button").forEach((button, place) => button.addEventListener("click", () => {
  const shows = button.ariaPressed !== "true";
  button.setAttribute("aria-pressed", shows);
  for (const [plot, figure] of figures) {
    if (!plot.id.startsWith("scatter")) continue;
    figure.data[place].visible = shows;
    if (plot.data) Plotly.restyle(plot, {visible: shows}, [place]);
  }
}));
