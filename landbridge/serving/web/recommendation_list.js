/* One catalogue's list: popular items for an empty query, else the model's recommendations. */

import { ask, wasCancelled } from "./api.js";
import { complaint, el, icon, unseen } from "./dom.js";
import { domains, glyph, hue } from "./domains.js";
import { inTwo, nameOf } from "./names.js";
import { requestOf, isEmpty } from "./query.js";
import { popularIn } from "./popular.js";
import { listed, percent, some } from "./format.js";
import { bars, reason, split } from "./explanation.js";

const FEW = 5;
const ROOMY = 8; // where there are but a few catalogues
const MANY = 20;
const POPULARITY = "popularity";
const BARS = "M2 9h3v5H2ZM6.5 5h3v9h-3ZM11 1.5h3V14h-3Z";
const PLUS = "M7.2 3h1.6v4.2H13v1.6H8.8V13H7.2V8.8H3V7.2h4.2Z";
const DOWN = "M3.5 5.6L8 10.1l4.5-4.5 1 1L8 12.1 2.5 6.6Z";

export class RecommendationList {
  #asking = null;
  #query = null;
  #pick;
  #few;
  #k;

  /** ``pick(item)``: what happens when an item is liked. */
  constructor(domain, place, pick) {
    this.domain = domain;
    this.items = [];
    this.#pick = pick;
    this.#few = this.#k = domains().length > 3 ? FEW : ROOMY;
    this.title = el("h3", { id: `list-${place}`, tabindex: "-1" }, glyph(domain), el("span", {}, domain));
    this.sources = el("p", { class: "sources" });
    this.strip = el("div", { class: "strip", "aria-hidden": "true" });
    this.failure = el("div");
    this.list = el("ol", { class: "rows" }, ...Array.from({ length: this.#few }, skeleton));
    this.more = el("button", { type: "button", class: "plain more", onclick: () => this.#toggle() }, "More");
    const head = el("div", { class: "domain-list-head" }, this.title, this.sources);
    const named = { class: `domain-list ${hue(domain)}`, "aria-labelledby": this.title.id, "aria-busy": "true" };
    this.element = el("section", named, head, this.strip, this.failure, this.list, this.more);
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
      const answer = await (isEmpty(query) ? this.#popular(signal) : this.#recommended(query, signal));
      if (signal.aborted) return null;
      this.#show(answer);
      return answer;
    } catch (error) {
      if (wasCancelled(error)) return null;
      this.#fail(error);
      return error;
    } finally {
      if (!signal.aborted) this.element.removeAttribute("aria-busy");
    }
  }

  async #popular(signal) {
    return { items: await popularIn(this.domain, this.#k, signal), source: "popular" };
  }

  #recommended(query, signal) {
    const body = { domains: [this.domain], ...requestOf(query), k: this.#k, explain: true };
    return ask("v1/recommend", { body, signal });
  }

  #show({ items, source }) {
    const place = this.#focused();
    this.items = items;
    this.element.classList.remove("stale");
    this.failure.replaceChildren();
    this.list.replaceChildren(...items.map((item) => this.#row(item, source)));
    if (!items.length) this.list.append(el("li", { class: "quiet" }, "Nothing is left to list."));
    this.#showSources(source);
    this.more.textContent = this.#k === this.#few ? "More" : "Fewer";
    this.more.hidden = items.length < this.#few;
    this.more.append(unseen(` ${this.domain}`));
    if (place) this.#focus(place);
  }

  #row(item, source) {
    const name = nameOf(item);
    const { work, year } = inTwo(name);
    const title = el("span", { class: "title" }, work, year && el("span", { class: "year" }, ` ${year}`));
    const like = el(
      "button",
      { type: "button", class: "pick", title: name, onclick: () => this.#like(item, row) },
      unseen("I like "),
      title,
      icon(PLUS),
    );
    const row = el("li", { class: "row" }, like, this.#below(item, source));
    return row;
  }

  #below(item, source) {
    if (source === "popular") return el("p", { class: "reason" }, some(item.score, "event"));
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
    this.#pick(item);
  }

  #showSources(source) {
    const shares = source === "model" ? origins(this.items) : [];
    this.strip.replaceChildren(...shares.map(piece));
    const said = shares.map(([domain, share]) => `${percent(share)} ${domain ?? POPULARITY}`);
    this.sources.replaceChildren();
    if (source === "fallback") this.sources.append("popular: your likes do not lead here");
    else if (said.length) this.sources.append(unseen(`from ${listed(said)}`), ...legend(shares));
  }

  /* The rows that stood stay, dimmed: an old list is better than none. */
  #fail(error) {
    this.element.classList.add("stale");
    this.failure.replaceChildren(complaint(error, () => this.refresh(this.#query)));
    for (const row of this.list.querySelectorAll(".skeleton")) row.remove();
    this.more.hidden = this.items.length < this.#few;
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
    return { place, kind: now.classList.contains("reason") ? ".reason" : ".pick" };
  }

  #focus({ place, kind }) {
    const row = this.list.children[Math.min(place, this.list.children.length - 1)];
    (row?.querySelector(`button${kind}`) ?? row?.querySelector("button") ?? this.title).focus();
  }
}

/** What a list's scores are made of: [domain, share], largest first; null for what no event explains. */
function origins(items) {
  const sums = new Map();
  const add = (from, value) => value > 0 && sums.set(from, (sums.get(from) ?? 0) + value);
  for (const { because, score } of items) {
    const { events, rest } = split(because, score);
    add(null, rest);
    for (const [domain, value] of events) add(domain, value);
  }
  const total = [...sums.values()].reduce((sum, value) => sum + value, 0);
  return [...sums].map(([from, sum]) => [from, sum / total]).sort((one, other) => other[1] - one[1]);
}

function piece([domain, share]) {
  const made = el("span", { class: domain === null ? "hue-none" : hue(domain) });
  made.style.setProperty("--share", share.toFixed(4));
  return made;
}

function legend(shares) {
  const pieces = shares.slice(0, 3).map(([domain, share]) => {
    const sign = domain === null ? icon(BARS, "glyph hue-none") : glyph(domain);
    return el("span", { class: "source", title: domain ?? POPULARITY }, sign, percent(share));
  });
  return [el("span", { class: "legend", "aria-hidden": "true" }, "from ", ...pieces)];
}

/* A title that is cut off is written out above the bars. */
function wholeTitle(button) {
  const title = button.parentElement.querySelector(".title");
  return title.scrollHeight > title.clientHeight ? [el("p", { class: "whole" }, title.textContent)] : [];
}

function skeleton() {
  return el("li", { class: "row skeleton", "aria-hidden": "true" }, el("span"), el("span"));
}
