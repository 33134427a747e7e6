/* One line at the foot of the window for what happened behind the page; it stays until it is dismissed. */

import { byId, el } from "./dom.js";

export function showNews(sentence) {
  const line = byId("news");
  const dismiss = el("button", { type: "button", class: "plain", onclick: () => line.replaceChildren() }, "Dismiss");
  line.replaceChildren(el("p", {}, sentence), dismiss);
}
