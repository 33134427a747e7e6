/* Titles of items that only the address names: no answer has called them by their titles yet. */

import { ask } from "./api.js";
import { isNamed } from "./names.js";

const sought = new Set(); // an item without a title stays without

/** Learn what can be learned, by lists that may hold these items alone; whether there was anything to learn. */
export async function learnTitles(things) {
  const unknown = things.filter((thing) => !isNamed(thing) && !sought.has(JSON.stringify(thing)));
  for (const thing of unknown) sought.add(JSON.stringify(thing));
  const requests = Map.groupBy(unknown, ({ domain }) => domain);
  await Promise.allSettled([...requests].map(([domain, items]) => ask("v1/recommend", { body: listOf(domain, items) })));
  return unknown.length > 0;
}

function listOf(domain, items) {
  return { domains: [domain], allow: { [domain]: items.map(({ item }) => item) }, seen: true, k: items.length };
}
