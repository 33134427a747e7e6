/* Puts the page together: the query in the address, the lists that follow it, and the other tabs. */

import { ask, AskError, news } from "./api.js";
import { likedItemList } from "./liked_items.js";
import { byId, complaint, debounced, el, say } from "./dom.js";
import { filterControl } from "./filters.js";
import { domains, glyph, setDomains } from "./domains.js";
import { healthView } from "./health.js";
import { keyField } from "./key.js";
import { modelView } from "./model.js";
import { showNews } from "./status.js";
import { nameOf } from "./names.js";
import {
  called,
  filtered,
  isAnonymous,
  likes,
  liking,
  read,
  restarted,
  ruled,
  similarTo,
  unfiltered,
  without,
  written,
} from "./query.js";
import { popularEverywhere } from "./popular.js";
import { searchField } from "./search.js";
import { RecommendationList } from "./recommendation_list.js";
import { retrying } from "./retry.js";
import { tabs } from "./tabs.js";
import { learnTitles } from "./titles.js";
import { some } from "./format.js";

const PAUSE = 90; // milliseconds in which several clicks become one request per list
const STRIPS = "The coloured line of each list shows which catalogues it is drawn from; grey is popularity and what no event explains.";
const NEAREST = "What you have chosen does not count here.";
const NOTHING = { show() {}, hide() {} };

let { query, tab } = read(location.hash);
let lists = [];

const views = new Map([
  ["try", NOTHING],
  ["model", modelView(byId("model"))],
  ["health", healthView(byId("health"))],
]);
const likedItems = likedItemList({ remove: (thing) => go(without(query, thing)), forget: () => go(called(query, null)) });
const filters = filterControl({
  add: (condition) => go(filtered(query, condition)),
  remove: (condition) => go(unfiltered(query, condition)),
  rule: (text) => go(ruled(query, text)),
  current: () => query,
});
const select = tabs(document.querySelector("[role=tablist]"), (name) => {
  turn(name);
  history.replaceState(null, "", address());
});

/** The page's address for the query and the tab. */
function address() {
  const hash = written(query, tab);
  return hash ? `#${hash}` : location.pathname + location.search;
}

/** A new query: remembered in the history, shown everywhere. */
function go(next) {
  query = next;
  history.pushState(null, "", address());
  show();
}

function turn(name) {
  views.get(tab)?.hide(); // an address may name a tab that does not exist
  tab = select(name);
  views.get(tab).show();
}

function show() {
  likedItems.show(query);
  filters.show(query);
  byId("user").value = query.user ?? "";
  byId("user-note").textContent = "";
  byId("answers-title").textContent = title();
  byId("answers-note").textContent = note();
  byId("back").hidden = query.similar === null;
  for (const list of lists) list.wait();
  refreshSoon();
}

function title() {
  if (query.similar) return `Similar to ${nameOf(query.similar)}`;
  return isAnonymous(query) ? "Popular, to begin with" : "For you";
}

function note() {
  if (isAnonymous(query)) return "";
  return query.similar ? NEAREST : STRIPS;
}

const refreshSoon = debounced(refresh, PAUSE);
const refreshAgain = retrying(refresh);
const startAgain = retrying(start);
let failure = null; // what was said last

async function refresh() {
  if (!lists.length) return;
  const sent = query;
  const answers = await Promise.all(lists.map((list) => list.refresh(sent)));
  if (sent !== query || answers.includes(null)) return;
  likedItems.show(query); // titles may have been learned
  byId("answers-title").textContent = title();
  if (compared && !query.similar) comeBack();
  byId("user-note").textContent = noteOn(answers);
  const error = commonError(answers);
  byId("domain-lists").classList.toggle("failed-alike", error !== null);
  byId("failed").replaceChildren(...(error ? [complaint(error, refresh)] : []));
  if (answers.some((answer) => answer instanceof AskError && !answer.lasting)) refreshAgain.later();
  else refreshAgain.done();
  const sentence = error?.message ?? null;
  if (sentence === null) say(`The lists of ${some(answers.length, "catalogue")} have changed.`);
  else if (sentence !== failure) say(sentence); // once, however often it is tried again
  failure = sentence;
}

/** What all lists failed with, to be said once; null where they differ or one did not fail. */
function commonError(answers) {
  const alike = new Set(answers.map((answer) => answer.message));
  return answers[0] instanceof AskError && alike.size === 1 ? answers[0] : null;
}

function noteOn(answers) {
  const known = answers.map((answer) => answer.known).filter((said) => said !== undefined);
  if (query.user === null || !known.length) return "";
  return known.includes(true) ? `The model knows ${query.user}.` : `The model has never seen ${query.user}.`;
}

const pick = (item) => go(liking(query, item));
const drop = (item) => go(without(query, item));
let compared = null; // the item whose like was looked for, until the lists are back

function compare(item) {
  compared = item;
  go(similarTo(query, item));
  toTop();
}

function toTop() {
  byId("lists").scrollIntoView();
  byId("answers-title").focus({ preventScroll: true });
}

/* The lists are as they were: the focus goes where it was. */
function comeBack() {
  const list = lists.find((each) => each.domain === compared.domain);
  if (document.activeElement === document.body || document.activeElement === byId("answers-title")) list?.focusAlike(compared.item);
  compared = null;
}

function link(domain, place) {
  const jump = (event) => {
    event.preventDefault(); // the address holds the query
    const title = byId(`list-${place}`);
    title.scrollIntoView();
    title.focus({ preventScroll: true });
  };
  return el("a", { href: `#list-${place}`, onclick: jump }, glyph(domain), domain);
}

async function start() {
  try {
    const about = await ask("v1/model");
    startAgain.done();
    byId("serving").textContent = `${about.method} ${about.model}`;
    byId("failed").replaceChildren();
    setDomains(Object.keys(about.domains));
    filters.offer(about.filters ?? []);
    putUp();
    show();
    learnNames();
  } catch (error) {
    byId("failed").replaceChildren(complaint(error, start));
    if (!error.lasting) startAgain.later();
  }
}

/** Names for what only the address names. */
async function learnNames() {
  const { liked, similar } = query;
  if (!(await learnTitles(similar ? [...liked, similar] : liked))) return;
  likedItems.show(query);
  byId("answers-title").textContent = title();
}

/** One list per catalogue; lists that exist already are kept. */
function putUp() {
  if (lists.map((list) => list.domain).join("\n") === domains().join("\n")) return;
  lists = domains().map((domain, place) => new RecommendationList(domain, place, { pick, drop, compare }));
  byId("domain-lists").replaceChildren(...lists.map((list) => list.element));
  byId("jump").classList.toggle("few", lists.length <= 3);
  byId("jump").replaceChildren(...domains().map(link));
}

searchField({ pick, known: (item) => likes(query, item), popular: (signal) => popularEverywhere(5, 2, signal) });
byId("skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address holds the query
  byId("lists").focus();
});
keyField(() => {
  views.get(tab).show();
  start();
});
byId("clear").addEventListener("click", () => {
  go(restarted(query));
  byId("search").focus();
});
byId("back").addEventListener("click", () => {
  go(similarTo(query, null));
  byId("answers-title").focus({ preventScroll: true });
});
byId("who").addEventListener("submit", (event) => {
  event.preventDefault();
  go(called(query, byId("user").value.trim() || null));
});
window.addEventListener("popstate", () => {
  const address = read(location.hash);
  query = address.query;
  turn(address.tab);
  show();
  learnNames();
});
news.addEventListener("model", ({ detail }) => {
  if (detail.before === null) return;
  showNews(`A new model answers from now on: ${detail.model}.`);
  start();
  views.get(tab).show();
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) ask("readyz").catch(() => {}); // reports another model; other failures show elsewhere
});

turn(tab);
show();
start();
