/* The field that finds titles: a combobox with a list of matching titles; popular ones while it is empty. */

import { ask, wasCancelled } from "./api.js";
import { byId, debounced, el, say } from "./dom.js";
import { glyph } from "./domains.js";
import { nameOf } from "./names.js";
import { some } from "./format.js";

const PAUSE = 150; // milliseconds without a key before a request is sent
const MOST = 12;

/** ``pick(item)`` takes what was chosen, ``known(item)`` says what is chosen already, ``popular()`` promises items. */
export function searchField({ pick, known, popular }) {
  const input = byId("search");
  const list = byId("search-results");
  const note = byId("search-note");
  let shown = [];
  let active = -1;
  let asking = null;
  let stale = false; // the list does not fit the text yet
  let eager = false; // Enter was pressed meanwhile

  function open(items, sentence = "") {
    shown = items.filter((item) => !known(item)).slice(0, MOST);
    list.replaceChildren(...shown.map(option));
    list.hidden = shown.length === 0;
    note.textContent = sentence;
    note.hidden = !sentence;
    input.setAttribute("aria-expanded", String(!list.hidden));
    stale = false;
    move(-1);
    if (eager && shown.length) choose(0);
    eager = false;
  }

  function close() {
    asking?.abort();
    open([]);
  }

  function option(item, place) {
    return el(
      "li",
      { role: "option", id: `search-result-${place}`, "aria-selected": "false", onclick: () => choose(place) },
      glyph(item.domain),
      el("span", { class: "title" }, nameOf(item)),
      el("span", { class: "quiet" }, item.domain),
    );
  }

  function move(place) {
    list.children[active]?.setAttribute("aria-selected", "false");
    active = place;
    const now = list.children[active];
    now?.setAttribute("aria-selected", "true");
    now?.scrollIntoView({ block: "nearest" });
    if (now) input.setAttribute("aria-activedescendant", now.id);
    else input.removeAttribute("aria-activedescendant");
  }

  function choose(place) {
    const item = shown[place];
    input.value = "";
    close();
    pick(item);
  }

  async function find(text) {
    asking?.abort();
    asking = new AbortController();
    const { signal } = asking;
    try {
      const query = new URLSearchParams({ q: text, k: String(MOST + 8) });
      const { items } = await ask(`v1/search?${query}`, { signal });
      if (signal.aborted) return;
      open(items, items.length ? "" : "No title has these words.");
      say(items.length ? `${some(shown.length, "title")} found.` : "No title has these words.");
    } catch (error) {
      if (!wasCancelled(error)) open([], error.message);
    }
  }

  const findSoon = debounced(() => {
    const text = input.value.trim();
    if (text) find(text);
  }, PAUSE);

  async function begin() {
    if (input.value.trim() || !list.hidden) return;
    const items = await popular().catch(() => []); // the lists say what is wrong
    if (!input.value.trim() && document.activeElement === input) open(items);
  }

  function key(event) {
    const last = shown.length - 1;
    eager = false;
    if (event.key === "ArrowDown") list.hidden ? begin() : move(active >= last ? 0 : active + 1);
    else if (event.key === "ArrowUp" && !list.hidden) move(active <= 0 ? last : active - 1);
    else if (event.key === "Enter" && stale) eager = true;
    else if (event.key === "Enter" && !list.hidden) choose(Math.max(active, 0));
    else if (event.key === "Escape" && (!list.hidden || input.value)) {
      input.value = "";
      close();
    } else return;
    event.preventDefault();
  }

  input.addEventListener("input", () => {
    asking?.abort();
    stale = input.value.trim() !== "";
    if (stale) findSoon();
    else close();
  });
  input.addEventListener("keydown", key);
  input.addEventListener("click", begin);
  input.addEventListener("blur", close);
  list.addEventListener("pointerdown", (event) => event.preventDefault()); // the field keeps the focus
}
