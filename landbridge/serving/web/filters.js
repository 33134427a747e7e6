/* Filters by the columns of the items' table and a rule about them: those that hold, each removable, and a form that
 * adds one. */

import { ask } from "./api.js";
import { combobox } from "./combobox.js";
import { byId, el, icon, unseen } from "./dom.js";
import { some } from "./format.js";
import { CLOSE } from "./liked_items.js";
import { isFiltered, isNarrowed } from "./query.js";

const MOST = 12;
const NO_VALUE = "no value";

/** What a condition is called. */
export const textOf = ({ column, value }) => `${column}: ${value ?? NO_VALUE}`;

/** ``add(condition)`` and ``remove(condition)``: {column, value} was chosen or is to go; ``rule(text)``: the rule is this,
 *  null: none; ``current()`` is the query. Returns {offer(columns), show(query)}. */
export function filterControl({ add, remove, rule, current }) {
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

  function chip(text, removal) {
    const drop = el(
      "button",
      { type: "button", class: "drop", title: `Remove ${text}`, onclick: () => take(drop, removal) },
      unseen(`Remove the filter ${text}`),
      icon(CLOSE),
    );
    return el("li", { class: "chip" }, el("span", { class: "name", title: text }, text), drop);
  }

  /* The focus goes to the next filter, or to the button when none is left. */
  function take(drop, removal) {
    const place = [...chips.children].indexOf(drop.closest("li"));
    removal();
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
    const filters = query.where.map((condition) => chip(textOf(condition), () => remove(condition)));
    const rules = query.rule === null ? [] : [chip(query.rule, () => rule(null))];
    chips.replaceChildren(...filters, ...rules);
    chips.hidden = !isNarrowed(query);
    byId("filter-rule").value = query.rule ?? "";
  }

  button.addEventListener("click", () => toggle(form.hidden));
  column.addEventListener("change", () => {
    clear();
    parts.input.focus();
    open();
  });
  parts.input.addEventListener("focus", open);
  byId("filter-by-rule").addEventListener("submit", (event) => {
    event.preventDefault();
    rule(byId("filter-rule").value.trim() || null);
  });
  form.addEventListener("keydown", (event) => {
    if (event.key === "Escape") toggle(false);
  });
  return { offer, show };
}
