/* A field with a list of options that follow its text, after the combobox pattern of ARIA: arrow keys move, Enter
 * chooses, Escape closes. */

import { wasCancelled } from "./api.js";
import { debounced, el, say } from "./dom.js";
import { some } from "./format.js";

const PAUSE = 150; // milliseconds without a key before a request is sent

/** ``find(text, signal)`` promises the options of a text, ``begin(signal)`` those of an empty field. ``content(option)``: what
 *  is shown of one. ``pick(option)`` takes the chosen one. ``nothing``: the sentence where a text has no option;
 *  ``noun``: what options are called. Returns {open, clear}. */
export function combobox({ input, list, note }, { find, begin, content, pick, nothing, noun }) {
  let shown = [];
  let active = -1;
  let asking = null;
  let stale = false; // the list does not fit the text yet
  let eager = false; // Enter was pressed meanwhile

  function show(options, sentence = "") {
    shown = options;
    list.replaceChildren(...shown.map(line));
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
    show([]);
  }

  function clear() {
    input.value = "";
    close();
  }

  function line(option, place) {
    const attributes = { role: "option", id: `${list.id}-${place}`, "aria-selected": "false", onclick: () => choose(place) };
    return el("li", attributes, ...content(option));
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
    const option = shown[place];
    clear();
    pick(option);
  }

  /* What ``request(signal)`` promises is shown, unless something else was requested meanwhile. */
  async function ask(request, sentence) {
    asking?.abort();
    asking = new AbortController();
    const { signal } = asking;
    try {
      const options = await request(signal);
      if (signal.aborted) return;
      show(options, options.length ? "" : sentence);
      say(options.length ? `${some(options.length, noun)} found.` : sentence);
    } catch (error) {
      if (!wasCancelled(error)) show([], error.message);
    }
  }

  const searchSoon = debounced(() => {
    const text = input.value.trim();
    if (text) ask((signal) => find(text, signal), nothing);
  }, PAUSE);

  function open() {
    if (!input.value.trim() && list.hidden) ask(begin, "");
  }

  function key(event) {
    const last = shown.length - 1;
    eager = false;
    if (event.key === "ArrowDown") list.hidden ? open() : move(active >= last ? 0 : active + 1);
    else if (event.key === "ArrowUp" && !list.hidden) move(active <= 0 ? last : active - 1);
    else if (event.key === "Enter" && stale) eager = true;
    else if (event.key === "Enter" && !list.hidden) choose(Math.max(active, 0));
    else if (event.key === "Escape" && (!list.hidden || input.value)) clear();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  input.addEventListener("input", () => {
    asking?.abort();
    stale = input.value.trim() !== "";
    if (stale) searchSoon();
    else close();
  });
  input.addEventListener("keydown", key);
  input.addEventListener("click", open);
  input.addEventListener("blur", close);
  list.addEventListener("pointerdown", (event) => event.preventDefault()); // the field keeps the focus
  return { open, clear };
}
