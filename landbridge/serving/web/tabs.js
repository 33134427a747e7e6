/* The tabs: arrow keys, Home and End move and select; one panel is shown. */

import { byId } from "./dom.js";

/** ``chosen(name)`` is called when the user chooses a tab. Returns ``select(name)``, which calls nothing. */
export function tabs(list, chosen) {
  const all = [...list.querySelectorAll("[role=tab]")];
  const nameOf = (tab) => tab.getAttribute("aria-controls");

  function select(name) {
    const now = all.find((tab) => nameOf(tab) === name) ?? all[0];
    for (const tab of all) {
      tab.setAttribute("aria-selected", String(tab === now));
      tab.tabIndex = tab === now ? 0 : -1;
      byId(nameOf(tab)).hidden = tab !== now;
    }
    return nameOf(now);
  }

  function take(tab) {
    tab.focus();
    chosen(select(nameOf(tab)));
  }

  list.addEventListener("click", (event) => {
    const tab = event.target.closest("[role=tab]");
    if (tab) take(tab);
  });
  list.addEventListener("keydown", (event) => {
    const place = all.indexOf(event.target);
    const next = { ArrowRight: place + 1, ArrowLeft: place - 1, Home: 0, End: all.length - 1 }[event.key];
    if (next === undefined || place < 0) return;
    event.preventDefault();
    take(all[(next + all.length) % all.length]);
  });
  return select;
}
