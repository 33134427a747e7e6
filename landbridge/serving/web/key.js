/* A server may want a key: the field for it, shown once it has said so; kept for as long as the tab is open. */

import { byId } from "./dom.js";

const KEY = "landbridge-key";
const UNFIT = "A key holds letters, digits and signs of ASCII or Latin-1 only; type it again.";
const headersOf = (text) => (text ? { "x-api-key": text } : {});
let key = kept();

function kept() {
  try {
    const text = sessionStorage.getItem(KEY);
    return isFit(text) ? text : null;
  } catch {
    return null;
  }
}

/** Whether a header can carry the text: the browser knows. */
function isFit(text) {
  try {
    new Headers(headersOf(text));
    return true;
  } catch {
    return false;
  }
}

/** The headers that carry the key. */
export const keyHeaders = () => headersOf(key);

/** Whether requests carry a key. */
export const hasKey = () => Boolean(key);

/** Show the field. */
export function wantKey() {
  byId("key-form").hidden = false;
}

/** ``again()`` is called with a new key at hand. */
export function keyField(again) {
  byId("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const given = byId("key").value.trim();
    byId("key-note").textContent = isFit(given) ? "" : UNFIT;
    if (!isFit(given)) return;
    key = given;
    byId("key-form").hidden = true;
    try {
      sessionStorage.setItem(KEY, key);
    } catch {
      /* it is requested again after a reload */
    }
    again();
  });
}
