/* Who the lists are for: a known user, liked items, both or neither. Values that never change, and a hash.

Ids are kept as text: the server takes "17" for 17. */

/** A query without a user or liked items. */
export const EMPTY_QUERY = Object.freeze({ user: null, liked: Object.freeze([]) });

export const isEmpty = (query) => query.user === null && query.liked.length === 0;

const same = (one, other) => one.domain === other.domain && String(one.item) === String(other.item);

export const likes = (query, thing) => query.liked.some((each) => same(each, thing));

export function liking(query, { domain, item }) {
  if (likes(query, { domain, item })) return query;
  return { ...query, liked: [...query.liked, { domain, item: String(item) }] };
}

export function without(query, thing) {
  return { ...query, liked: query.liked.filter((each) => !same(each, thing)) };
}

export const called = (query, user) => ({ ...query, user });

/** The query as the server takes it. */
export const requestOf = (query) => ({ user: query.user, events: query.liked });

/** ``user=42&like.books=dune&tab=model``, without the #; ``read`` gives the same back. */
export function written(query, tab) {
  const parts = new URLSearchParams();
  if (query.user !== null) parts.append("user", query.user);
  for (const { domain, item } of query.liked) parts.append(`like.${domain}`, item);
  if (tab !== "try") parts.append("tab", tab);
  return parts.toString();
}

/** The query and the tab of a hash; what it does not say is as at the start. */
export function read(hash) {
  const parts = new URLSearchParams(hash.replace(/^#/, ""));
  let query = EMPTY_QUERY;
  for (const [key, value] of parts) {
    if (key === "user" && value.trim()) query = called(query, value.trim());
    if (key.startsWith("like.") && key.length > 5 && value) query = liking(query, { domain: key.slice(5), item: value });
  }
  return { query, tab: parts.get("tab") ?? "try" };
}
