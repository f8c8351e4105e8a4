{# Sorts the table of models. #}
// The table: rows without a value stay last, whichever way round.
const headings = [...document.querySelectorAll("#models thead th")];
headings.forEach((heading, column) => heading.firstChild.addEventListener("click", () => {
  const body = find("models").tBodies[0];
  const isText = "text" in heading.dataset;
  const first = isText ? "ascending" : "descending";
  const other = isText ? "descending" : "ascending";
  const order = heading.ariaSort === first ? other : first;
  headings.forEach(one => one.setAttribute("aria-sort", one === heading ? order : "none"));
  const sign = order === "ascending" ? 1 : -1;
  const value = row => isText ? row.cells[column].textContent : parseFloat(row.cells[column].dataset.value);
  const compare = (a, b) => {
    const [one, two] = [value(a), value(b)];
    if (isText) return sign * one.localeCompare(two, undefined, {numeric: true});
    return Number.isNaN(one) - Number.isNaN(two) || sign * (one - two) || 0;
  };
  [...body.rows].sort(compare).forEach(row => body.append(row));
}));
