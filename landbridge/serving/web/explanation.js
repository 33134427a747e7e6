/* Why an item is listed: the line under its title, and what makes up its score, as bars. */

import { ask, wasCancelled } from "./api.js";
import { complaint, el, unseen } from "./dom.js";
import { glyph, hue } from "./domains.js";
import { inTwo, nameOf } from "./names.js";
import { requestOf } from "./query.js";
import { signed, some } from "./format.js";

const SHOWN = 8; // parts; what is left is one more
const REASONS = 2;

const hasItem = (part) => part.item !== null && part.item !== undefined;

/** The line: because you liked …; null where nothing is said. */
export function reason(because) {
  const helped = (because ?? []).filter((part) => hasItem(part) && part.value > 0).slice(0, REASONS);
  return helped.length ? ["because you liked ", ...helped.flatMap(mention)] : null;
}

function mention(part, place) {
  const { work } = inTwo(nameOf(part));
  const name = el("span", { class: "mention" }, glyph(part.domain), work, unseen(` (${part.domain})`));
  return place ? [", ", name] : [name];
}

/** The bars of one item's score, filled in when the server has answered. */
export function bars(item, query) {
  const box = el("div", { class: "bars", "aria-busy": "true" }, el("p", { class: "quiet" }, "…"));
  fill(box, item, query);
  return box;
}

async function fill(box, item, query) {
  try {
    const body = { domain: item.domain, item: item.item, ...requestOf(query) };
    const explanation = await ask("v1/explain", { body });
    box.replaceChildren(...drawn(explanation));
  } catch (error) {
    if (wasCancelled(error)) return;
    box.replaceChildren(complaint(error, () => fill(box, item, query)));
  }
  box.removeAttribute("aria-busy");
}

function drawn({ score, exact, parts }) {
  const shown = parts.length > SHOWN + 1 ? [...parts.slice(0, SHOWN), others(parts.slice(SHOWN))] : parts;
  const most = Math.max(...shown.map((part) => Math.abs(part.value)), Number.MIN_VALUE);
  const total = `Score ${score.toFixed(3)}, ${exact ? "the sum of" : "about the sum of"}`;
  return [
    el("p", { class: "quiet" }, total),
    el("ul", { class: "parts" }, ...shown.map((part) => bar(part, Math.abs(part.value) / most))),
  ];
}

function others(parts) {
  const value = parts.reduce((sum, part) => sum + part.value, 0);
  return { domain: null, item: null, title: some(parts.length, "more event"), value };
}

function bar(part, share) {
  const line = el("span", { class: `bar ${hasItem(part) ? hue(part.domain) : "hue-none"}`, "aria-hidden": "true" });
  line.style.setProperty("--share", share.toFixed(4));
  line.classList.toggle("against", part.value < 0);
  const label = hasItem(part)
    ? [glyph(part.domain), el("span", { class: "name" }, nameOf(part)), unseen(` (${part.domain})`)]
    : [el("span", { class: "name" }, part.title ?? "the rest")];
  return el("li", {}, el("span", { class: "label" }, ...label), el("span", { class: "value" }, signed(part.value)), line);
}
