/* Puts the page together: the query in the address, the lists that follow it, and the other tabs. */

import { ask, AskError, news } from "./api.js";
import { likedItemList } from "./liked_items.js";
import { byId, complaint, debounced, el, say } from "./dom.js";
import { domains, glyph, setDomains } from "./domains.js";
import { healthView } from "./health.js";
import { keyField } from "./key.js";
import { modelView } from "./model.js";
import { showNews } from "./status.js";
import { called, isEmpty, liking, likes, EMPTY_QUERY, read, without, written } from "./query.js";
import { popularEverywhere } from "./popular.js";
import { searchField } from "./search.js";
import { RecommendationList } from "./recommendation_list.js";
import { retrying } from "./retry.js";
import { tabs } from "./tabs.js";
import { some } from "./format.js";

const PAUSE = 90; // milliseconds in which several clicks become one request per list
const STRIPS = "The coloured line of each list shows which catalogues it is drawn from; grey is popularity.";
const NOTHING = { show() {}, hide() {} };

let { query, tab } = read(location.hash);
let lists = [];

const views = new Map([
  ["try", NOTHING],
  ["model", modelView(byId("model"))],
  ["health", healthView(byId("health"))],
]);
const likedItems = likedItemList({ remove: (thing) => go(without(query, thing)), forget: () => go(called(query, null)) });
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
  byId("user").value = query.user ?? "";
  byId("user-note").textContent = "";
  byId("answers-title").textContent = isEmpty(query) ? "Popular, to begin with" : "For you";
  byId("answers-note").textContent = isEmpty(query) ? "" : STRIPS;
  for (const list of lists) list.wait();
  refreshSoon();
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

function pick(item) {
  go(liking(query, item));
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
    putUp();
    show();
  } catch (error) {
    byId("failed").replaceChildren(complaint(error, start));
    if (!error.lasting) startAgain.later();
  }
}

/** One list per catalogue; lists that exist already are kept. */
function putUp() {
  if (lists.map((list) => list.domain).join("\n") === domains().join("\n")) return;
  lists = domains().map((domain, place) => new RecommendationList(domain, place, pick));
  byId("domain-lists").replaceChildren(...lists.map((list) => list.element));
  byId("jump").classList.toggle("few", lists.length <= 3);
  byId("jump").replaceChildren(...domains().map(link));
}

searchField({ pick, known: (item) => likes(query, item), popular: () => popularEverywhere(5, 2) });
byId("skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address holds the query
  byId("lists").focus();
});
keyField(() => {
  views.get(tab).show();
  start();
});
byId("clear").addEventListener("click", () => {
  go(EMPTY_QUERY);
  byId("search").focus();
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
