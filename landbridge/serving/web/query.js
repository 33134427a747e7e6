/* What is shown, for whom: a known user, liked items, both or neither; filters; the item whose like is looked for.
 * Values that never change, and a hash.

Ids and values are kept as text: the server takes "17" for 17. */

/** A query without a user, liked items, filters (column and value; null: no value), a rule as text or an item to
 *  compare with. */
export const EMPTY_QUERY = Object.freeze({
  user: null,
  liked: Object.freeze([]),
  where: Object.freeze([]),
  rule: null,
  similar: null,
});

/** Whether nothing is known of the user. */
export const isAnonymous = (query) => query.user === null && query.liked.length === 0;

const same = (one, other) => one.domain === other.domain && String(one.item) === String(other.item);

const plain = ({ domain, item }) => ({ domain, item: String(item) });

export const likes = (query, thing) => query.liked.some((each) => same(each, thing));

export function liking(query, thing) {
  return likes(query, thing) ? query : { ...query, liked: [...query.liked, plain(thing)] };
}

export function without(query, thing) {
  return { ...query, liked: query.liked.filter((each) => !same(each, thing)) };
}

export const called = (query, user) => ({ ...query, user });

/** Filters may stay when the user begins anew. */
export const restarted = (query) => ({ ...EMPTY_QUERY, where: query.where, rule: query.rule });

const asText = (value) => (value === null ? null : String(value));

const equal = (one, other) => one.column === other.column && asText(one.value) === asText(other.value);

export const isFiltered = (query, condition) => query.where.some((each) => equal(each, condition));

export function filtered(query, condition) {
  return isFiltered(query, condition) ? query : { ...query, where: [...query.where, condition] };
}

export function unfiltered(query, condition) {
  return { ...query, where: query.where.filter((each) => !equal(each, condition)) };
}

export const ruled = (query, rule) => ({ ...query, rule });

/** Whether items are left out by filters or by a rule. */
export const isNarrowed = (query) => query.where.length > 0 || query.rule !== null;

export const similarTo = (query, thing) => ({ ...query, similar: thing && plain(thing) });

/** The user as the server takes it. */
export function userOf({ user, liked }) {
  return { ...(user === null ? {} : { user }), ...(liked.length ? { events: liked } : {}) };
}

const inQuotes = (value) => (value === null ? "null" : `'${value.replace(/['"\\]/g, "\\$&")}'`);

/* {where: column -> values}, where there are filters, or all of them in one text where there is a rule, too; values of
 * a column are alternatives. */
function whereOf({ where, rule }) {
  const columns = new Map();
  for (const { column, value } of where) columns.set(column, [...(columns.get(column) ?? []), value]);
  if (rule === null) return columns.size ? { where: Object.fromEntries(columns) } : {};
  const filters = [...columns].map(([column, values]) => `${inQuotes(column)} in [${values.map(inQuotes).join(", ")}]`);
  return { where: filters.length ? [...filters, `(${rule})`].join(" and ") : rule };
}

/** What is requested for a catalogue's list of ``k`` items: {path, body}, without a body for what is popular. */
export function requestOf(query, domain, k) {
  if (query.similar) return { path: "v1/similar", body: { ...query.similar, to: domain, k, ...whereOf(query) } };
  if (isAnonymous(query) && !isNarrowed(query)) return { path: `v1/popular?${new URLSearchParams({ domain, k })}` };
  return { path: "v1/recommend", body: { domains: [domain], ...userOf(query), k, explain: true, ...whereOf(query) } };
}

/** ``user=42&like.books=dune&where.genre=noir&where=price+<+20&tab=model``, without the #; ``read`` gives the same back. */
export function written(query, tab) {
  const parts = new URLSearchParams();
  if (query.user !== null) parts.append("user", query.user);
  for (const { domain, item } of query.liked) parts.append(`like.${domain}`, item);
  for (const { column, value } of query.where) parts.append(`where.${column}`, value ?? "");
  if (query.rule !== null) parts.append("where", query.rule);
  if (query.similar) parts.append(`similar.${query.similar.domain}`, query.similar.item);
  if (tab !== "try") parts.append("tab", tab);
  return parts.toString();
}

const NAMED = /^(like|where|similar)\.(.+)$/s;

/** The query and the tab of a hash; what it does not say is as at the start. */
export function read(hash) {
  const parts = new URLSearchParams(hash.replace(/^#/, ""));
  let query = EMPTY_QUERY;
  for (const [key, value] of parts) {
    const [, kind, name] = NAMED.exec(key) ?? [];
    if (key === "user" && value.trim()) query = called(query, value.trim());
    if (key === "where" && value.trim()) query = ruled(query, value.trim());
    if (kind === "like" && value) query = liking(query, { domain: name, item: value });
    if (kind === "where") query = filtered(query, { column: name, value: value || null }); // no text is empty there
    if (kind === "similar" && value) query = similarTo(query, { domain: name, item: value });
  }
  return { query, tab: parts.get("tab") ?? "try" };
}
