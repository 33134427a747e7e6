/* The health tab: whether the server is ready, and what it has counted, refreshed while it is visible. */

import { ask, askText } from "./api.js";
import { complaint, el, icon, pairs } from "./dom.js";
import { buckets, named, quantile, samples, total } from "./metrics.js";
import { table } from "./table.js";
import { age, count, duration, moment, percent } from "./format.js";

const PAUSE = 5000; // milliseconds between two requests
const DONE = "M6.4 12.6L1.9 8.1l1.3-1.3 3.2 3.2 6.4-6.4 1.3 1.3Z";
const FAILED = "M8 1.2l7 12.6H1Z";
const LISTS = "/v1/recommend";
const SECONDS = "landbridge_request_seconds";

/** The view in ``panel``: {show, hide}. */
export function healthView(panel) {
  const state = el("div", { class: "state" });
  const statistics = el("dl", { class: "statistics" });
  const routes = el("div");
  panel.append(el("div", { class: "view" }, state, el("div", { class: "body" }, statistics, routes)));
  let timer = null;

  async function refresh() {
    try {
      const [ready, alive, text] = await Promise.all([ask("readyz"), ask("healthz"), askText("metrics")]);
      const all = samples(text);
      state.replaceChildren(...standing(ready, alive));
      statistics.replaceChildren(...facts(all).map(([name, value, note]) => fact(name, value, note)));
      routes.replaceChildren(byRoute(all));
    } catch (error) {
      state.replaceChildren(el("h1", {}, "The server does not answer"), complaint(error, refresh));
    }
    panel.toggleAttribute("data-loaded", true);
  }

  const show = () => {
    hide();
    refresh();
    timer = setInterval(() => document.hidden || refresh(), PAUSE);
  };
  const hide = () => clearInterval(timer);
  return { show, hide };
}

function standing({ ready, model, since, swaps, rollbacks, failed }, { status }) {
  const sign = icon(ready ? DONE : FAILED, ready ? "sign better" : "sign worse");
  const title = el("h1", {}, sign, ready ? "Ready" : "Not ready");
  const facts = { Process: status, Model: model, "Serving since": moment(since), Swaps: swaps, Rollbacks: rollbacks };
  const refused = failed && el("p", { class: "error" }, `A later model was refused, ${moment(failed.at)}: ${failed.why}`);
  return [title, refused, pairs(facts)].filter(Boolean);
}

/** [name, value, note] of the statistics at the top. */
function facts(all) {
  const lists = buckets(all, SECONDS, { route: LISTS });
  const answers = total(all, "landbridge_answers_total");
  const cold = total(all, "landbridge_answers_total", { user: "new" });
  const fallback = total(all, "landbridge_answers_total", { source: "fallback" });
  const requests = total(all, "landbridge_requests_total") ?? 0;
  const bad = named(all, "landbridge_requests_total").filter((each) => each.labels.status?.startsWith("5"));
  // in an A/B test that of run a, as "Serving since" above
  const since = named(all, "landbridge_model_age_seconds")[0]?.value ?? null;
  return [
    ["Requests", count(requests), `${count(bad.reduce((sum, each) => sum + each.value, 0))} of them failed`],
    ["p50 of lists", duration(quantile(lists, 0.5)), "half are answered within this"],
    ["p99 of lists", duration(quantile(lists, 0.99)), "all but one in a hundred are"],
    ["Cold share", answers ? percent((cold ?? 0) / answers) : "–", "lists for users the model was not fitted with"],
    ["Fallback share", answers ? percent((fallback ?? 0) / answers) : "–", "lists without any known event of the user"],
    ["Model age", since === null ? "–" : age(since), "since it was fitted"],
  ];
}

function fact(name, value, note) {
  return el("div", {}, el("dt", {}, name), el("dd", {}, value, el("small", {}, note)));
}

function byRoute(all) {
  const routeNames = [...new Set(named(all, `${SECONDS}_count`).map((each) => each.labels.route))].sort();
  return table("Response time by route", COLUMNS, routeNames.map((route) => timed(all, route)));
}

function timed(all, route) {
  const many = total(all, `${SECONDS}_count`, { route });
  const mean = (total(all, `${SECONDS}_sum`, { route }) ?? 0) / many;
  return { route, many, mean, ends: buckets(all, SECONDS, { route }) };
}

const COLUMNS = [
  { head: "Route", cell: ({ route }) => route },
  { head: "Requests", cell: ({ many }) => count(many) },
  { head: "p50", cell: ({ ends }) => duration(quantile(ends, 0.5)) },
  { head: "p99", cell: ({ ends }) => duration(quantile(ends, 0.99)) },
  { head: "Mean", cell: ({ mean }) => duration(mean) },
];
