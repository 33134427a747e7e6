/* Parser of /metrics: Prometheus' text format, and quantiles of its histograms. */

const SAMPLE = /^([A-Za-z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)/;
const LABEL = /([A-Za-z_]\w*)="((?:[^"\\]|\\.)*)"/g;

/** Text -> [{name, labels, value}] */
export function samples(text) {
  return text.split("\n").flatMap((line) => {
    const [, name, labels = "", value] = SAMPLE.exec(line) ?? [];
    if (!name) return [];
    const pairs = [...labels.matchAll(LABEL)].map(([, key, said]) => [key, said.replace(/\\(.)/g, unescaped)]);
    return [{ name, labels: Object.fromEntries(pairs), value: number(value) }];
  });
}

const unescaped = (_, sign) => (sign === "n" ? "\n" : sign);

const number = (text) => ({ "+Inf": Infinity, "-Inf": -Infinity })[text] ?? Number(text);

/** The samples of a metric that have these labels. */
export function named(all, name, labels = {}) {
  const fits = (each) => Object.entries(labels).every(([key, value]) => each.labels[key] === value);
  return all.filter((each) => each.name === name && fits(each));
}

/** The sum of a metric's samples; null where there are none. */
export function total(all, name, labels) {
  const samples = named(all, name, labels);
  return samples.length ? samples.reduce((sum, each) => sum + each.value, 0) : null;
}

/** Buckets of a histogram, added over all other labels: [[upper end, count up to it]], ends rising. */
export function buckets(all, name, labels) {
  const sums = new Map();
  for (const each of named(all, `${name}_bucket`, labels)) {
    const end = number(each.labels.le);
    sums.set(end, (sums.get(end) ?? 0) + each.value);
  }
  return [...sums].sort((one, other) => one[0] - other[0]);
}

/** The quantile ``share`` of cumulative buckets, linear within one; NaN where nothing was counted. */
export function quantile(ends, share) {
  const all = ends.at(-1)?.[1] ?? 0;
  if (all === 0) return NaN;
  const wanted = share * all;
  const place = ends.findIndex(([, count]) => count >= wanted);
  const [end, count] = ends[place];
  const [start, before] = place ? ends[place - 1] : [0, 0];
  if (end === Infinity) return start;
  return start + ((end - start) * (wanted - before)) / Math.max(count - before, Number.MIN_VALUE);
}
