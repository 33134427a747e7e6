/* One catalogue's list: what is popular, what the model recommends, or what is like an item. */

import { ask, wasCancelled } from "./api.js";
import { copyButton } from "./copy_button.js";
import { curlCommand } from "./curl.js";
import { complaint, el, icon, unseen } from "./dom.js";
import { domains, glyph, hue } from "./domains.js";
import { inTwo, nameOf } from "./names.js";
import { hasKey } from "./key.js";
import { isAnonymous, isNarrowed, likes, requestOf } from "./query.js";
import { popularIn } from "./popular.js";
import { listed, percent, some } from "./format.js";
import { bars, reason, split } from "./explanation.js";

const FEW = 5;
const ROOMY = 8; // where there are but a few catalogues
const MANY = 20;
const LEAST = 0.001; // of a list's scores, else it is not seen
const SIMILAR = "Similar items";
const BARS = "M2 9h3v5H2ZM6.5 5h3v9h-3ZM11 1.5h3V14h-3Z";
const PLUS = "M7.2 3h1.6v4.2H13v1.6H8.8V13H7.2V8.8H3V7.2h4.2Z";
const ALIKE =
  "M5.5 3.5a4.5 4.5 0 1 1 0 9a4.5 4.5 0 0 1 0-9ZM5.5 4.8a3.2 3.2 0 1 0 0 6.4a3.2 3.2 0 0 0 0-6.4Z" +
  "M10.5 3.5a4.5 4.5 0 1 1 0 9a4.5 4.5 0 0 1 0-9ZM10.5 4.8a3.2 3.2 0 1 0 0 6.4a3.2 3.2 0 0 0 0-6.4Z";
const DOWN = "M3.5 5.6L8 10.1l4.5-4.5 1 1L8 12.1 2.5 6.6Z";

export class RecommendationList {
  #asking = null;
  #query = null;
  #shown = null; // the query and the number of items of what is shown
  #acts;
  #few;
  #k;

  /** ``acts``: {pick, drop, compare}, each called with an item: it is liked, no longer liked, or compared with others. */
  constructor(domain, place, acts) {
    this.domain = domain;
    this.items = [];
    this.#acts = acts;
    this.#few = this.#k = domains().length > 3 ? FEW : ROOMY;
    this.title = el("h3", { id: `list-${place}`, tabindex: "-1" }, glyph(domain), el("span", {}, domain));
    this.sources = el("p", { class: "sources" });
    this.strip = el("div", { class: "strip", "aria-hidden": "true" });
    this.failure = el("div");
    this.list = el("ol", { class: "rows" }, ...Array.from({ length: this.#few }, skeleton));
    this.more = el("button", { type: "button", class: "plain more", onclick: () => this.#toggle() }, "More");
    const copy = copyButton("Copy as curl", domain, () => this.#command());
    const head = el("div", { class: "domain-list-head" }, this.title, this.sources);
    const foot = el("div", { class: "domain-list-foot" }, this.more, copy);
    const named = { class: `domain-list ${hue(domain)}`, "aria-labelledby": this.title.id, "aria-busy": "true" };
    this.element = el("section", named, head, this.strip, this.failure, this.list, foot);
  }

  /** The list shown is out of date. */
  wait() {
    this.element.setAttribute("aria-busy", "true");
  }

  /** Request the list of this query; an earlier request is cancelled. The answer,
   *  what went wrong, or null where it was given up.  */
  async refresh(query) {
    this.#asking?.abort();
    this.#asking = new AbortController();
    this.#query = query;
    this.wait();
    const { signal } = this.#asking;
    try {
      const answer = await this.#answer(query, signal);
      if (signal.aborted) return null;
      this.#shown = { query, k: this.#k };
      this.#show(answer, query);
      return answer;
    } catch (error) {
      if (wasCancelled(error)) return null;
      this.#fail(error);
      return error;
    } finally {
      if (!signal.aborted) this.element.removeAttribute("aria-busy");
    }
  }

  async #answer(query, signal) {
    const { path, body } = requestOf(query, this.domain, this.#k);
    if (!body) return { items: await popularIn(path, signal), source: "popular" };
    const answer = await ask(path, { body, signal });
    return query.similar ? { ...answer, source: "similar" } : answer;
  }

  /* Of what is shown, although another list may be on its way. */
  #command() {
    return curlCommand(requestOf(this.#shown.query, this.domain, this.#shown.k), hasKey());
  }

  #show({ items, source }, query) {
    const place = this.#focused();
    this.items = items;
    this.element.classList.remove("stale");
    this.failure.replaceChildren();
    this.element.classList.add("arrived");
    this.list.replaceChildren(...items.map((item, place) => this.#row(item, source, place)));
    if (!items.length) this.list.append(el("li", { class: "quiet none" }, emptySentence(query)));
    this.#showSources(source, query);
    this.more.textContent = this.#k === this.#few ? "More" : "Fewer";
    this.more.hidden = items.length < this.#few;
    this.more.append(unseen(` ${this.domain}`));
    if (place) this.#focus(place);
  }

  #row(item, source, place) {
    const name = nameOf(item);
    const { work, year } = inTwo(name);
    const id = `${this.title.id}-${place}`;
    const title = el("span", { class: "title", id }, work, year && el("span", { class: "year" }, ` ${year}`));
    const liked = likes(this.#query, item);
    const like = el(
      "button",
      { type: "button", class: "pick", title: name, onclick: () => (liked ? this.#acts.drop(item) : this.#like(item, row)) },
      unseen(liked ? "Remove " : "I like "),
      title,
      icon(PLUS),
    );
    const alike = el(
      "button",
      { type: "button", class: "alike", title: SIMILAR, "aria-describedby": id, onclick: () => this.#acts.compare(item) },
      unseen(SIMILAR),
      icon(ALIKE),
    );
    const [line, ...details] = this.#below(item, source);
    const row = el("li", { class: liked ? "row taken" : "row" }, like, el("div", { class: "second" }, line, alike), details);
    return row;
  }

  #below(item, source) {
    if (source === "popular") return [el("p", { class: "reason" }, some(item.score, "event"))];
    if (source === "similar") return [el("p", { class: "reason" }, `similarity ${item.score.toFixed(3)}`)];
    const said = reason(item);
    const box = el("div", { hidden: true });
    const open = () => {
      const opened = button.getAttribute("aria-expanded") !== "true";
      button.setAttribute("aria-expanded", String(opened));
      box.hidden = !opened;
      box.replaceChildren(...(opened ? [...wholeTitle(button), bars(item, this.#query)] : []));
    };
    const words = said ?? (source === "fallback" ? ["popular here"] : ["what makes up the score"]);
    const line = el("span", { class: "line" }, ...words);
    const button = el("button", { type: "button", class: "reason", "aria-expanded": "false", onclick: open }, line, icon(DOWN));
    return [button, box];
  }

  #like(item, row) {
    row.classList.add("taken");
    this.#acts.pick(item);
  }

  #showSources(source, query) {
    const shares = source === "model" ? origins(this.items) : [];
    this.strip.replaceChildren(...shares.map(piece));
    const said = shares.map(({ name, share }) => `${percent(share)} ${name}`);
    this.sources.replaceChildren();
    if (source === "fallback" && !isAnonymous(query)) this.sources.append("popular: your likes do not lead here");
    else if (said.length) this.sources.append(unseen(`from ${listed(said)}`), ...legend(shares));
  }

  /* The rows that stood stay, dimmed: an old list is better than none, unless it is about something else. */
  #fail(error) {
    this.element.classList.add("stale");
    this.failure.replaceChildren(complaint(error, () => this.refresh(this.#query)));
    for (const row of this.list.querySelectorAll(".skeleton")) row.remove();
    if (subject(this.#shown?.query) !== subject(this.#query)) this.#clear();
    this.more.hidden = this.items.length < this.#few;
  }

  #clear() {
    this.items = [];
    this.list.replaceChildren();
    this.element.classList.remove("arrived");
  }

  #toggle() {
    this.#k = this.#k === this.#few ? MANY : this.#few;
    this.refresh(this.#query);
  }

  /* A list that is replaced keeps the focus where it was: same place, same kind of button. */

  #focused() {
    const now = document.activeElement;
    if (!this.list.contains(now)) return null;
    const place = [...this.list.children].findIndex((row) => row.contains(now));
    return { place, kind: `.${now.classList[0]}` };
  }

  /** Focus the button of an item that was compared with others; false where the item is not listed. */
  focusAlike(item) {
    const place = this.items.findIndex((each) => String(each.item) === String(item));
    if (place >= 0) this.#focus({ place, kind: ".alike" });
    return place >= 0;
  }

  #focus({ place, kind }) {
    const row = this.list.children[Math.min(place, this.list.children.length - 1)];
    (row?.querySelector(`button${kind}`) ?? row?.querySelector("button") ?? this.title).focus();
  }
}

/** What a list's scores are made of: [{name, domain, share}], largest first; without a domain what no event explains. */
function origins(items) {
  const sums = new Map(); // a title may be the name of a catalogue
  const add = (kind, name, value) => {
    const key = JSON.stringify([kind, name]);
    if (value > 0) sums.set(key, { name, domain: kind === "event" ? name : null, sum: (sums.get(key)?.sum ?? 0) + value });
  };
  for (const { because, score } of items) {
    const { events, others } = split(because, score);
    for (const [domain, value] of events) add("event", domain, value);
    for (const [title, value] of others) add("other", title, value);
  }
  const all = [...sums.values()];
  const total = all.reduce((sum, each) => sum + each.sum, 0);
  const shares = all.map(({ sum, ...each }) => ({ ...each, share: sum / total }));
  return shares.filter(({ share }) => share >= LEAST).sort((one, other) => other.share - one.share);
}

function piece({ domain, share }) {
  const made = el("span", { class: domain === null ? "hue-none" : hue(domain) });
  made.style.setProperty("--share", share.toFixed(4));
  return made;
}

function legend(shares) {
  const pieces = shares.slice(0, 3).map(({ name, domain, share }) => {
    const sign = domain === null ? icon(BARS, "glyph hue-none") : glyph(domain);
    return el("span", { class: "source", title: name }, sign, percent(share));
  });
  return [el("span", { class: "legend", "aria-hidden": "true" }, "from ", ...pieces)];
}

const subject = (query) => JSON.stringify(query?.similar ?? null);

function emptySentence(query) {
  if (isNarrowed(query)) return "Nothing here passes the filter.";
  return query.similar ? "Nothing here is similar." : "Nothing is left to list.";
}

/* A title that is cut off is written out above the bars. */
function wholeTitle(button) {
  const title = button.closest(".row").querySelector(".title");
  return title.scrollHeight > title.clientHeight ? [el("p", { class: "whole" }, title.textContent)] : [];
}

function skeleton() {
  return el("li", { class: "row skeleton", "aria-hidden": "true" }, el("span"), el("span"));
}
