/* A button that copies text, or shows it selected where the browser lets no page copy. */

import { el, say, unseen } from "./dom.js";

const SHOWN = 2000; // milliseconds

/** ``label`` and, for screen readers, ``about``; ``text()`` gives what is copied. */
export function copyButton(label, about, text) {
  const name = el("span", {}, label);
  const button = el("button", { type: "button", class: "plain copy", onclick: copy }, name, unseen(` ${about}`));
  const box = el("div", { class: "copying" }, button);

  async function copy() {
    box.replaceChildren(button);
    try {
      await navigator.clipboard.writeText(text());
    } catch {
      // only pages of this machine and of https may use the clipboard
      showSelected(text());
      return;
    }
    name.textContent = "Copied";
    say(`Copied: ${label} ${about}.`);
    setTimeout(() => {
      name.textContent = label;
    }, SHOWN);
  }

  function showSelected(command) {
    const field = el("textarea", { readonly: true, rows: "6", "aria-label": `${label} ${about}` });
    field.value = command;
    box.append(field);
    field.focus();
    field.select();
  }

  return box;
}
