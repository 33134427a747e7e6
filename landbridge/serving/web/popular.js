/* What is popular in the catalogues; requested once per model. */

import { ask, news } from "./api.js";
import { domains } from "./domains.js";

const kept = new Map();
news.addEventListener("model", () => kept.clear());

/** The ``k`` most popular items of a catalogue. */
export async function popularIn(domain, k, signal) {
  const query = new URLSearchParams({ domain, k: String(k) });
  if (!kept.has(String(query))) kept.set(String(query), (await ask(`v1/popular?${query}`, { signal })).items);
  return kept.get(String(query));
}

/** A few of every catalogue, the first of each before the second of any. */
export async function popularEverywhere(k, each, signal) {
  const lists = await Promise.all(domains().map((domain) => popularIn(domain, k, signal)));
  return Array.from({ length: each }, (_, place) => lists.flatMap((list) => list[place] ?? [])).flat();
}
