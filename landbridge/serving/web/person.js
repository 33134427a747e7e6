/* Who the lists are for: a known user, liked items, both or neither. Values that never change, and a hash.

Ids are kept as text: the server takes "17" for 17. */

/** Somebody of whom nothing is known. */
export const NOBODY = Object.freeze({ user: null, liked: Object.freeze([]) });

export const isNobody = (person) => person.user === null && person.liked.length === 0;

const same = (one, other) => one.domain === other.domain && String(one.item) === String(other.item);

export const likes = (person, thing) => person.liked.some((each) => same(each, thing));

export function liking(person, { domain, item }) {
  if (likes(person, { domain, item })) return person;
  return { ...person, liked: [...person.liked, { domain, item: String(item) }] };
}

export function without(person, thing) {
  return { ...person, liked: person.liked.filter((each) => !same(each, thing)) };
}

export const called = (person, user) => ({ ...person, user });

/** What the server wants to know of her. */
export const asked = (person) => ({ user: person.user, events: person.liked });

/** ``user=42&like.books=dune&tab=model``, without the #; ``read`` gives the same back. */
export function written(person, tab) {
  const parts = new URLSearchParams();
  if (person.user !== null) parts.append("user", person.user);
  for (const { domain, item } of person.liked) parts.append(`like.${domain}`, item);
  if (tab !== "try") parts.append("tab", tab);
  return parts.toString();
}

/** The person and the tab of a hash; what it does not say is as at the start. */
export function read(hash) {
  const parts = new URLSearchParams(hash.replace(/^#/, ""));
  let person = NOBODY;
  for (const [key, value] of parts) {
    if (key === "user" && value.trim()) person = called(person, value.trim());
    if (key.startsWith("like.")) person = liking(person, { domain: key.slice(5), item: value });
  }
  return { person, tab: parts.get("tab") ?? "try" };
}
