/* A server may want a key: the field for it, shown once it has said so; kept for as long as the tab is open. */

import { byId } from "./dom.js";

const KEY = "landbridge-key";
let key = kept();

function kept() {
  try {
    return sessionStorage.getItem(KEY);
  } catch {
    return null;
  }
}

/** The headers that carry the key. */
export const keyHeaders = () => (key ? { "x-api-key": key } : {});

/** Show the field. */
export function wantKey() {
  byId("key-form").hidden = false;
}

/** ``again()`` is called with a new key at hand. */
export function keyField(again) {
  byId("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    key = byId("key").value.trim();
    byId("key-form").hidden = true;
    try {
      sessionStorage.setItem(KEY, key);
    } catch {
      /* it is requested again after a reload */
    }
    again();
  });
}
