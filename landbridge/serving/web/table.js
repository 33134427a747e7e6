/* Tables that scroll inside their box where the window is too narrow. */

import { el } from "./dom.js";

/** ``columns``: {head, cell(row), left}; the first one names its row. A cell gives text, an element or several. */
export function table(title, columns, rows) {
  const head = columns.map(({ head, left }, place) => el("th", { scope: "col", class: side(left, place) }, head));
  const body = rows.map((row) => el("tr", {}, ...columns.map((column, place) => cell(column, place, row))));
  return el(
    "div",
    { class: "scroll", tabindex: "0", role: "group", "aria-label": title },
    el("table", {}, el("caption", {}, title), el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...body)),
  );
}

const side = (left, place) => (left || !place ? null : "r");

function cell({ cell: fill, left }, place, row) {
  const content = [fill(row)].flat();
  return place ? el("td", { class: side(left, place) }, ...content) : el("th", { scope: "row" }, ...content);
}
