/* Why an item is listed: the line under its title, and what makes up its score, as bars. */

import { ask, wasCancelled } from "./api.js";
import { complaint, el, unseen } from "./dom.js";
import { glyph, hue } from "./domains.js";
import { inTwo, nameOf } from "./names.js";
import { userOf } from "./query.js";
import { isZero, signed, some } from "./format.js";

const SHOWN = 8; // parts; what is left is one more
const REASONS = 2;
const MOST = 0.5; // of a score
const UNEXPLAINED = "not from single events"; // what the server calls it, too

const hasItem = (part) => part.item !== null && part.item !== undefined;
const sum = (parts) => parts.reduce((total, part) => total + part.value, 0);

/** A score in two: {events: [[domain, value]], others: [[title, value]]}, the others being popularity and what no event
 *  explains. A list names only the events that count most; they stand for those that it does not name. */
export function split(because, score) {
  const helped = (because ?? []).filter((part) => part.value > 0);
  const named = helped.filter(hasItem);
  const other = helped.filter((part) => !hasItem(part));
  if (!named.length && !other.length) return { events: [], others: [[UNEXPLAINED, Math.max(score, 0)]] };
  const left = Math.max(score, sum(helped)) - sum(helped); // of events that are not named, where some are
  const events = named.map((part) => [part.domain, part.value * (1 + left / sum(named))]);
  const share = named.length ? 0 : left / sum(other);
  return { events, others: other.map((part) => [part.title, part.value * (1 + share)]) };
}

/** The line: because you liked …, or that most of the score is popularity; null where nothing is said. */
export function reason({ because, score }) {
  const helped = (because ?? []).filter((part) => part.value > 0);
  const liked = helped.filter(hasItem).slice(0, REASONS).flatMap(mention);
  const other = helped.find((part) => !hasItem(part)); // the largest comes first
  const rest = split(because, score).others.reduce((total, [, value]) => total + value, 0);
  if (other && rest > MOST * Math.max(score, sum(helped))) {
    return [liked.length ? `mostly ${other.title}; you liked ` : other.title, ...liked];
  }
  return liked.length ? ["because you liked ", ...liked] : null;
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
    const body = { domain: item.domain, item: item.item, ...userOf(query) };
    const explanation = await ask("v1/explain", { body });
    box.replaceChildren(...drawn(explanation));
  } catch (error) {
    if (wasCancelled(error)) return;
    box.replaceChildren(complaint(error, () => fill(box, item, query)));
  }
  box.removeAttribute("aria-busy");
}

function drawn({ score, exact, parts: all, features }) {
  const parts = all.filter((part) => !isZero(part.value)); // an item–item model adds a trace of popularity
  const shown = parts.length > SHOWN + 1 ? [...parts.slice(0, SHOWN), others(parts.slice(SHOWN))] : parts;
  const total = `Score ${score.toFixed(3)}, ${exact ? "the sum of" : "about the sum of"}`;
  const known = features.filter((part) => !isZero(part.value)).slice(0, SHOWN);
  const also = known.length ? [el("p", { class: "quiet" }, "Of it, by what is known of the item"), list(known.map(named))] : [];
  return [el("p", { class: "quiet" }, total), list(shown), ...also];
}

function list(parts) {
  const most = Math.max(...parts.map((part) => Math.abs(part.value)), Number.MIN_VALUE);
  return el("ul", { class: "parts" }, ...parts.map((part) => bar(part, Math.abs(part.value) / most)));
}

const named = ({ feature, value }) => ({ domain: null, item: null, title: feature, value });

function others(parts) {
  return { domain: null, item: null, title: some(parts.length, "more event"), value: sum(parts) };
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
