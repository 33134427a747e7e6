/* Puts the page together: the person in the address, the lists that follow her, and the other tabs. */

import { ask, AskError, news } from "./api.js";
import { chipList } from "./chips.js";
import { byId, complaint, debounced, el, say } from "./dom.js";
import { domains, glyph, setDomains } from "./domains.js";
import { healthView } from "./health.js";
import { keyField } from "./key.js";
import { modelView } from "./model.js";
import { showNews } from "./newsline.js";
import { called, isNobody, liking, likes, NOBODY, read, without, written } from "./person.js";
import { popularEverywhere } from "./popular.js";
import { searchField } from "./search.js";
import { Shelf } from "./shelf.js";
import { tabs } from "./tabs.js";
import { some } from "./words.js";

const PAUSE = 90; // milliseconds in which several clicks become one request per list
const STRIPS = "The coloured line of each list shows which catalogues it is drawn from.";
const NOTHING = { show() {}, hide() {} };

let { person, tab } = read(location.hash);
let shelves = [];

const views = { try: NOTHING, model: modelView(byId("model")), health: healthView(byId("health")) };
const chips = chipList({ remove: (thing) => go(without(person, thing)), forget: () => go(called(person, null)) });
const select = tabs(document.querySelector("[role=tablist]"), (name) => {
  turn(name);
  history.replaceState(null, "", address());
});

/** The page's address for the person and the tab. */
function address() {
  const hash = written(person, tab);
  return hash ? `#${hash}` : location.pathname + location.search;
}

/** Another person: remembered in the history, shown everywhere. */
function go(next) {
  person = next;
  history.pushState(null, "", address());
  show();
}

function turn(name) {
  views[tab]?.hide(); // an address may name a tab that does not exist
  tab = select(name);
  views[tab].show();
}

function show() {
  chips.show(person);
  byId("user").value = person.user ?? "";
  byId("user-note").textContent = "";
  byId("answers-title").textContent = isNobody(person) ? "Popular, to begin with" : "For you";
  byId("answers-note").textContent = isNobody(person) ? "" : STRIPS;
  for (const shelf of shelves) shelf.wait();
  refreshSoon();
}

const refreshSoon = debounced(refresh, PAUSE);

async function refresh() {
  if (!shelves.length) return;
  const whom = person;
  const answers = await Promise.all(shelves.map((shelf) => shelf.refresh(whom)));
  if (whom !== person || answers.includes(null)) return;
  chips.show(person); // titles may have been learned
  byId("user-note").textContent = noteOn(answers);
  const error = commonError(answers);
  byId("shelves").hidden = error !== null;
  byId("failed").replaceChildren(...(error ? [complaint(error, refresh)] : []));
  say(error ? error.message : `The lists of ${some(answers.length, "catalogue")} have changed.`);
}

/** What all lists failed with, to be said once; null where they differ or one did not fail. */
function commonError(answers) {
  const alike = new Set(answers.map((answer) => answer.message));
  return answers[0] instanceof AskError && alike.size === 1 ? answers[0] : null;
}

function noteOn(answers) {
  const known = answers.map((answer) => answer.known).filter((said) => said !== undefined);
  if (person.user === null || !known.length) return "";
  return known.includes(true) ? `The model knows ${person.user}.` : `The model has never seen ${person.user}.`;
}

function pick(item) {
  go(liking(person, item));
}

function link(domain, place) {
  const jump = (event) => {
    event.preventDefault(); // the address holds the person
    const title = byId(`shelf-${place}`);
    title.scrollIntoView();
    title.focus({ preventScroll: true });
  };
  return el("a", { href: `#shelf-${place}`, onclick: jump }, glyph(domain), domain);
}

async function start() {
  try {
    const about = await ask("v1/model");
    byId("serving").textContent = `${about.method} ${about.model}`;
    byId("failed").replaceChildren();
    setDomains(Object.keys(about.domains));
    putUp();
    show();
  } catch (error) {
    byId("failed").replaceChildren(complaint(error, start));
  }
}

/** A shelf for every catalogue; those that stand already stay. */
function putUp() {
  if (shelves.map((shelf) => shelf.domain).join("\n") === domains().join("\n")) return;
  shelves = domains().map((domain, place) => new Shelf(domain, place, pick));
  byId("shelves").replaceChildren(...shelves.map((shelf) => shelf.element));
  byId("jump").classList.toggle("few", shelves.length <= 3);
  byId("jump").replaceChildren(...domains().map(link));
}

searchField({ pick, known: (item) => likes(person, item), popular: () => popularEverywhere(5, 2) });
byId("skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address holds the person
  byId("lists").focus();
});
keyField(() => {
  views[tab].show();
  start();
});
byId("clear").addEventListener("click", () => {
  go(NOBODY);
  byId("search").focus();
});
byId("who").addEventListener("submit", (event) => {
  event.preventDefault();
  go(called(person, byId("user").value.trim() || null));
});
window.addEventListener("popstate", () => {
  const found = read(location.hash);
  person = found.person;
  turn(found.tab);
  show();
});
news.addEventListener("model", ({ detail }) => {
  if (detail.before === null) return;
  showNews(`A new model answers from now on: ${detail.model}.`);
  start();
  views[tab].show();
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) ask("readyz").catch(() => {}); // tells of another model; other failures show elsewhere
});

turn(tab);
show();
start();
