/* Titles of items, learned from every answer that passes; kept for as long as the tab is open. */

const KEY = "landbridge-names";
const MOST = 2000;
const known = kept();

function kept() {
  try {
    return new Map(JSON.parse(sessionStorage.getItem(KEY)) ?? []);
  } catch {
    return new Map(); // no storage, or not ours
  }
}

const keyOf = ({ domain, item }) => JSON.stringify([domain, String(item)]);

/** Learn the titles of items, reasons or parts. */
export function learn(things) {
  const before = known.size;
  for (const thing of things) {
    if (thing.item !== null && thing.title && known.size < MOST) known.set(keyOf(thing), thing.title);
    if (thing.because) learn(thing.because);
  }
  if (known.size > before) keep();
}

function keep() {
  try {
    sessionStorage.setItem(KEY, JSON.stringify([...known]));
  } catch {
    /* the page works without storage */
  }
}

export const isNamed = (thing) => known.has(keyOf(thing));

/** A name that ends with a year in brackets, in two: {work, year}. */
export function inTwo(name) {
  const [, work, year] = /^(.*\S)\s*(\(\d{4}\))$/s.exec(name) ?? [null, name, ""];
  return { work, year };
}

/** What to call an item: its title, else its id. */
export const nameOf = (thing) => thing.title || known.get(keyOf(thing)) || String(thing.item ?? "");
