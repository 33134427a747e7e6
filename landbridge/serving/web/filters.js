/* Filters by the columns of the items' table: those that hold, each removable, and a form that adds one. */

import { ask } from "./api.js";
import { combobox } from "./combobox.js";
import { byId, el, icon, unseen } from "./dom.js";
import { some } from "./format.js";
import { CLOSE } from "./liked_items.js";
import { isFiltered } from "./query.js";

const MOST = 12;
const NO_VALUE = "no value";

/** What a condition is called. */
export const textOf = ({ column, value }) => `${column}: ${value ?? NO_VALUE}`;

/** ``add(condition)`` and ``remove(condition)``: {column, value} was chosen or is to go; ``current()`` is the query.
 *  Returns {offer(columns), show(query)}. */
export function filterControl({ add, remove, current }) {
  const button = byId("filter");
  const form = byId("filter-form");
  const column = byId("filter-column");
  const chips = byId("filter-chips");
  const parts = { input: byId("filter-value"), list: byId("filter-values"), note: byId("filter-note") };

  async function find(text, signal) {
    const query = new URLSearchParams({ column: column.value, q: text, k: String(MOST + 8) });
    const { values } = await ask(`v1/values?${query}`, { signal });
    const chosen = (value) => isFiltered(current(), { column: column.value, value });
    return values.filter(({ value }) => !chosen(value)).slice(0, MOST);
  }

  const { open, clear } = combobox(parts, {
    find,
    begin: (signal) => find("", signal),
    content: ({ value, items }) => [
      el("span", { class: value === null ? "title quiet" : "title" }, String(value ?? NO_VALUE)),
      el("span", { class: "quiet" }, some(items, "item")),
    ],
    pick: ({ value }) => add({ column: column.value, value: value === null ? null : String(value) }),
    nothing: "No item has such a value.",
    noun: "value",
  });

  function toggle(shown) {
    form.hidden = !shown;
    button.setAttribute("aria-expanded", String(shown));
    if (shown) parts.input.focus();
    else button.focus();
  }

  function chip(condition) {
    const text = textOf(condition);
    const drop = el(
      "button",
      { type: "button", class: "drop", title: `Remove ${text}`, onclick: () => take(drop, condition) },
      unseen(`Remove the filter ${text}`),
      icon(CLOSE),
    );
    return el("li", { class: "chip" }, el("span", { class: "name", title: text }, text), drop);
  }

  /* The focus goes to the next filter, or to the button when none is left. */
  function take(drop, condition) {
    const place = [...chips.children].indexOf(drop.closest("li"));
    remove(condition);
    const left = chips.children[Math.min(place, chips.children.length - 1)];
    (left?.querySelector("button") ?? (button.hidden ? byId("lists") : button)).focus();
  }

  /** The columns that the server filters by. */
  function offer(columns) {
    const before = column.value;
    column.replaceChildren(...columns.map((name) => el("option", { value: name }, name)));
    if (columns.includes(before)) column.value = before;
    button.hidden = columns.length === 0;
    if (button.hidden) form.hidden = true;
  }

  function show(query) {
    chips.replaceChildren(...query.where.map(chip));
    chips.hidden = query.where.length === 0;
  }

  button.addEventListener("click", () => toggle(form.hidden));
  column.addEventListener("change", () => {
    clear();
    parts.input.focus();
    open();
  });
  parts.input.addEventListener("focus", open);
  form.addEventListener("keydown", (event) => {
    if (event.key === "Escape") toggle(false);
  });
  return { offer, show };
}
