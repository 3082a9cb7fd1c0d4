"use strict";
// Plots and sortable tables. Figures have the light colours; in dark mode each is replaced.

function readJson(id) {
  return JSON.parse(document.getElementById(id).textContent);
}

(() => {
  const figures = readJson("figures");
  const colors = Object.values(readJson("palette"));
  const dark = matchMedia("(prefers-color-scheme: dark)");

  function colored(figure) {
    let text = JSON.stringify(figure);
    if (dark.matches) for (const [from, to] of colors) text = text.replaceAll(from, to);
    return JSON.parse(text);
  }

  function draw(place) {
    const { data, layout } = colored(figures[place.dataset.figure]);
    place.style.height = `${layout.height}px`; // on resize plotly reads the element's height, not the layout's
    Plotly.react(place, data, layout, { responsive: true, displayModeBar: false });
  }

  // One plot per task of the event loop, so that the head and the tables stay responsive.
  function drawAll([place, ...rest]) {
    if (!place) return;
    draw(place);
    setTimeout(drawAll, 0, rest);
  }
  const redraw = () => drawAll([...document.querySelectorAll("[data-figure]")]);
  redraw();
  dark.addEventListener("change", redraw);

  for (const table of document.querySelectorAll("table.results")) {
    const body = table.querySelector(".models");
    table.querySelectorAll("thead button").forEach((button, column) => {
      button.addEventListener("click", () => {
        const heading = button.closest("th");
        const down = heading.getAttribute("aria-sort") === "ascending";
        table.querySelectorAll("thead th").forEach((th) => th.removeAttribute("aria-sort"));
        heading.setAttribute("aria-sort", down ? "descending" : "ascending");
        const key = (row) => {
          const cell = row.cells[column];
          if (!cell.classList.contains("n")) return cell.textContent;
          return "value" in cell.dataset ? Number(cell.dataset.value) : null;
        };
        const order = (a, b) => {
          const [x, y] = [key(a), key(b)];
          if (x === null || y === null) return (x === null) - (y === null); // missing values come last
          return (x < y ? -1 : x > y ? 1 : 0) * (down ? -1 : 1);
        };
        body.append(...[...body.rows].sort(order));
      });
    });
  }
})();
