/* What is popular in the catalogues; requested once per model. */

import { ask, news } from "./api.js";
import { domains } from "./domains.js";
import { EMPTY_QUERY, requestOf } from "./query.js";

const kept = new Map();
news.addEventListener("model", () => kept.clear());

/** The popular items that a request asks for. */
export async function popularIn(path, signal) {
  if (!kept.has(path)) kept.set(path, (await ask(path, { signal })).items);
  return kept.get(path);
}

/** A few of every catalogue, the first of each before the second of any. */
export async function popularEverywhere(k, each, signal) {
  const lists = await Promise.all(domains().map((domain) => popularIn(requestOf(EMPTY_QUERY, domain, k).path, signal)));
  return Array.from({ length: each }, (_, place) => lists.flatMap((list) => list[place] ?? [])).flat();
}
