/* The query's user id and liked items, each removable. */

import { byId, el, icon, unseen } from "./dom.js";
import { glyph } from "./domains.js";
import { nameOf } from "./names.js";

export const CLOSE = "M4.1 3L8 6.9 11.9 3 13 4.1 9.1 8l3.9 3.9-1.1 1.1L8 9.1 4.1 13 3 11.9 6.9 8 3 4.1Z";
const USER_ICON = "M8 1.5a3.2 3.2 0 1 1 0 6.4a3.2 3.2 0 0 1 0-6.4ZM1.8 14.5c.3-3.6 2.7-5.4 6.2-5.4s5.9 1.8 6.2 5.4Z";

/** ``remove(item)`` and ``forget()`` are called when an item's button is pressed; returns {show(query)}. */
export function likedItemList({ remove, forget }) {
  const list = byId("liked-items");

  function likedItem(sign, name, from, drop) {
    const label = el("span", { class: "name", title: name }, name, from ? unseen(` (${from})`) : null);
    const button = el(
      "button",
      { type: "button", class: "drop", title: `Remove ${name}`, onclick: () => take(button, drop) },
      unseen(`Remove ${name}`),
      icon(CLOSE),
    );
    return el("li", { class: "liked-item" }, sign, label, button);
  }

  /* The focus goes to the next item, or to the search when none is left. */
  function take(button, drop) {
    const place = [...list.children].indexOf(button.closest("li"));
    drop();
    const left = list.children[Math.min(place, list.children.length - 1)];
    (left?.querySelector("button") ?? byId("search")).focus();
  }

  function show(query) {
    const who = query.user === null ? [] : [likedItem(icon(USER_ICON, "glyph"), query.user, null, forget)];
    const things = query.liked.map((thing) =>
      likedItem(glyph(thing.domain), nameOf(thing), thing.domain, () => remove(thing)),
    );
    const all = [...who, ...things];
    byId("clear").hidden = all.length === 0;
    byId("nothing").hidden = all.length > 0;
    if (drawn(all) !== drawn([...list.children])) list.replaceChildren(...all);
  }

  return { show };
}

// with the signs: catalogues may become known after the query was shown
const drawn = (items) => items.map((each) => each.outerHTML).join("\n");
