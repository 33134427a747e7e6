/* The field that finds titles; popular ones while it is empty. */

import { ask } from "./api.js";
import { combobox } from "./combobox.js";
import { byId, el } from "./dom.js";
import { glyph } from "./domains.js";
import { nameOf } from "./names.js";

const MOST = 12;

/** ``pick(item)`` takes what was chosen, ``known(item)`` says what is chosen already, ``popular(signal)`` promises items. */
export function searchField({ pick, known, popular }) {
  const parts = { input: byId("search"), list: byId("search-results"), note: byId("search-note") };
  const offered = (items) => items.filter((item) => !known(item)).slice(0, MOST);

  async function find(text, signal) {
    const query = new URLSearchParams({ q: text, k: String(MOST + 8) });
    return offered((await ask(`v1/search?${query}`, { signal })).items);
  }

  combobox(parts, {
    find,
    begin: async (signal) => offered(await popular(signal)),
    content: (item) => [
      glyph(item.domain),
      el("span", { class: "title" }, nameOf(item)),
      el("span", { class: "quiet" }, item.domain),
    ],
    pick,
    nothing: "No title has these words.",
    noun: "title",
  });
}
