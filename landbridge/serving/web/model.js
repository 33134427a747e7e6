/* The model tab: what serves, how large it is, its quality, and what the guard decided. */

import { ask } from "./api.js";
import { complaint, el, icon, pairs } from "./dom.js";
import { glyph, setDomains } from "./domains.js";
import { table } from "./table.js";
import { age, count, gained, listed, moment, some } from "./format.js";

const METRICS = ["ndcg@10", "hr@10"];
const UP = "M8 3l6 10H2Z";
const DOWN = "M8 13L2 3h12Z";

/** The view in ``panel``: {show, hide}. */
export function modelView(panel) {
  async function show() {
    panel.setAttribute("aria-busy", "true");
    try {
      panel.replaceChildren(view(await ask("v1/model")));
    } catch (error) {
      panel.replaceChildren(complaint(error, show));
    }
    panel.removeAttribute("aria-busy");
  }
  return { show, hide() {} };
}

function view(about) {
  setDomains(Object.keys(about.domains));
  const facts = {
    Model: about.model,
    Kind: about.kind,
    Fitted: moment(about.created),
    Age: age(about.age),
    Catalogues: Object.keys(about.domains).length,
  };
  const settings = Object.fromEntries(flat(about.settings));
  const side = [el("h1", {}, about.method), pairs(facts)];
  const body = [el("div", {}, catalogues(about), el("p", { class: "quiet foot" }, source(about)))];
  if (about.decisions?.length) body.push(decisions(about.decisions));
  if (about.privacy) body.push(privacy(about.privacy));
  const parts = [el("div", { class: "state" }, side), el("div", { class: "body" }, body)];
  if (Object.keys(settings).length) {
    parts.push(el("section", { class: "settings" }, el("h2", {}, "Settings"), pairs(settings)));
  }
  return el("div", { class: "view" }, parts);
}

/* Settings as lines; a mixture's weights are in its decisions. */
function flat(settings, before = "") {
  return Object.entries(settings ?? {}).flatMap(([name, value]) => {
    if (name === "weights") return [];
    if (value !== null && typeof value === "object" && !Array.isArray(value)) return flat(value, `${before}${name} `);
    return [[`${before}${name}`, value === null ? "none" : [value].flat().join(", ")]];
  });
}

function catalogues({ domains, quality, decisions: made }) {
  const rows = Object.entries(domains).map(([domain, size]) => ({ domain, ...size }));
  const gains = gainsOf(quality, made);
  const columns = [
    { head: "Catalogue", cell: ({ domain }) => [glyph(domain), domain] },
    { head: "Items", cell: ({ items }) => count(items) },
    { head: "Users", cell: ({ users }) => count(users) },
    { head: "Events", cell: ({ events }) => count(events) },
  ];
  for (const metric of METRICS.filter((name) => quality?.[name])) {
    columns.push({ head: metric.toUpperCase(), cell: ({ domain }) => metricText(quality[metric][domain]) });
  }
  if (gains) columns.push({ head: "Gain over single-domain", cell: ({ domain }) => gainOver(gains[domain]) });
  return table("What it serves", columns, rows);
}

const metricText = (value) => (Number.isFinite(value) ? value.toFixed(4) : "–");

/** A change as text with a mark: up or down. */
function gain(share) {
  if (!Number.isFinite(share)) return "–";
  const mark = share > 0 ? icon(UP, "trend better") : icon(DOWN, "trend worse");
  return el("span", { class: "gain" }, share === 0 ? null : mark, gained(share));
}

/** A gain and the model that it is over. */
function gainOver(over) {
  return over ? [gain(over.share), el("small", {}, ` over ${over.model}`)] : "–";
}

/** Domain -> {share, model}: the gain over the domain's best single-domain model, on the test part where that was
 *  evaluated, else as the guard found it; null without a comparison. */
function gainsOf(quality, made) {
  const metric = METRICS[0];
  if (quality?.single_domain) {
    const { [metric]: values, models } = quality.single_domain;
    const over = ([domain, alone]) => [domain, { share: quality[metric][domain] / alone - 1, model: models[domain] }];
    return Object.fromEntries(Object.entries(values).map(over));
  }
  const sums = new Map();
  for (const { domain, pairs: many, estimate, simple, simple_estimate: base } of made ?? []) {
    const [ours, alone] = sums.get(domain) ?? [0, 0];
    if (many) sums.set(domain, [ours + many * estimate, alone + many * base, simple]);
  }
  const over = ([domain, [ours, alone, model]]) => [domain, { share: ours / alone - 1, model }];
  return sums.size ? Object.fromEntries([...sums].map(over)) : null;
}

function source({ quality, decisions: made }) {
  const said = [];
  if (quality) said.push(`Quality on the test part of the run, ${protocol(quality.protocol)}.`);
  else said.push("This run was not evaluated, so its quality is unknown.");
  if (quality?.single_domain) said.push("The gain is over the model that ranks best there of those that know one catalogue alone.");
  else if (made?.length) said.push("The gain is what the guard found on validation data, over the best model of each catalogue alone.");
  return said.join(" ");
}

function protocol(name) {
  if (name === "full") return "ranked among all items";
  if (name === "across") return "ranked in one list over all catalogues";
  return `ranked among sampled items (${name})`;
}

function decisions(made) {
  const joined = made.filter((each) => Object.keys(each.weights).some((label) => label !== each.simple));
  const columns = [
    { head: "Catalogue", cell: ({ domain }) => [glyph(domain), domain] },
    { head: "Users with events", left: true, cell: ({ group }) => group },
    { head: "Served by", left: true, cell: ({ weights }) => served(weights) },
    { head: "Instead of", left: true, cell: ({ simple }) => simple },
    { head: "Gain", cell: ({ estimate, simple_estimate: base }) => gain(base ? estimate / base - 1 : 0) },
    { head: "Validation pairs", cell: ({ pairs: many }) => count(many) },
  ];
  const sentence =
    `Of ${some(made.length, "group")} of users, ${count(joined.length)} are served by more than the best simple ` +
    "model of their catalogue, where validation data make it sure enough that they do not lose.";
  const note = el("p", { class: "quiet foot" }, sentence);
  return el("div", {}, table("What the guard decided", columns, made), note);
}

/* What is guaranteed of the rows that a fit sent to other parties, and what is not. */
function privacy({ epsilon, delta, rounds, clip, noise, unit, not_protected: bare }) {
  const facts = {
    "ε": epsilon === null ? "∞: rows were sent without noise" : epsilon.toPrecision(3),
    "δ": delta,
    Rounds: count(rounds),
    "Largest row": clip,
    Noise: noise,
    Protected: unit,
  };
  const open = el("ul", {}, ...bare.map((each) => el("li", {}, each)));
  return el("section", {}, el("h2", {}, "Privacy"), pairs(facts), el("p", {}, "Not protected:"), open);
}

function served(weights) {
  const parts = Object.entries(weights).sort((one, other) => other[1] - one[1]);
  return listed(parts.map(([label, weight]) => (weight < 1 ? `${Math.round(100 * weight)} % ${label}` : label)));
}
