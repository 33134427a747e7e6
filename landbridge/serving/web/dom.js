/* Making elements. Text from the data only ever becomes text nodes. */

const SVG = "http://www.w3.org/2000/svg";

/** An element; attributes named on… are listeners, false and null are left out; strings become text. */
export function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

export const byId = (id) => document.getElementById(id);

/** Text for screen readers only. */
export const unseen = (text) => el("span", { class: "unseen" }, text);

/** An icon of one path in a box of 16. */
export function icon(path, name = "icon") {
  const svg = document.createElementNS(SVG, "svg");
  const line = document.createElementNS(SVG, "path");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("class", name);
  svg.setAttribute("aria-hidden", "true");
  line.setAttribute("d", path);
  svg.append(line);
  return svg;
}

/** Names and values below each other. */
export function pairs(facts) {
  const lines = Object.entries(facts).map(([name, value]) =>
    el("div", {}, el("dt", {}, name), el("dd", {}, String(value))),
  );
  return el("dl", { class: "pairs" }, ...lines);
}

/** Says something to screen readers, once things have settled. */
export function say(text) {
  const where = byId("said");
  where.textContent = "";
  setTimeout(() => {
    where.textContent = text;
  }, 50);
}

/** Calls ``action`` when there was no call for ``wait`` milliseconds. */
export function debounced(action, wait) {
  let timer;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => action(...given), wait);
  };
}

/** A sentence about what went wrong and, where that may help, a button to try again. */
export function complaint(error, again) {
  const button = el("button", { type: "button", class: "plain", onclick: again }, "Try again");
  return el("p", { class: "error" }, error.message, error.lasting ? null : button);
}
