/* Asking the server. Every failure is an AskError whose message is one sentence to show. */

import { keyHeaders, wantKey } from "./key.js";
import { learn } from "./names.js";

const PATIENCE = 15000; // milliseconds

export class AskError extends Error {
  /** ``lasting``: asking again would be answered alike. */
  constructor(sentence, lasting = false) {
    super(sentence);
    this.lasting = lasting;
  }
}

/** Reports models: event "model" with the id of the one that answered, when it is another than before. */
export const news = new EventTarget();
const LATE = 10000; // milliseconds in which the model before may still answer: that is no news
let current = null;
let before = null;
let changed = 0;

/** The JSON that a route answers; ``body`` makes it a POST. ``signal`` cancels it with an AbortError. */
export async function ask(path, { body, signal } = {}) {
  const answer = await reply(path, { body, signal });
  const content = read(await answer.text());
  if (!answer.ok) throw refusal(answer.status, content);
  if (content === null) throw new AskError("The server answered with something that is not JSON.");
  learn(content.items ?? content.parts ?? []);
  if (content.model) heard(content.model);
  return content;
}

/** The text that a route answers. */
export async function askText(path, { signal } = {}) {
  const answer = await reply(path, { signal });
  const text = await answer.text();
  if (!answer.ok) throw refusal(answer.status, read(text));
  return text;
}

function refusal(status, content) {
  if (status === 401) wantKey();
  return new AskError(content?.error ?? `The server answered with status ${status}.`, status >= 400 && status < 500);
}

async function reply(path, { body, signal }) {
  const limit = AbortSignal.timeout(PATIENCE);
  const given = { signal: signal ? AbortSignal.any([signal, limit]) : limit, headers: keyHeaders() };
  if (body !== undefined) {
    given.method = "POST";
    given.headers["content-type"] = "application/json";
    given.body = JSON.stringify(body);
  }
  try {
    return await fetch(path, given);
  } catch (error) {
    if (signal?.aborted) throw error;
    if (error.name === "TimeoutError") throw new AskError("The server takes too long to answer.");
    throw new AskError("The server cannot be reached.");
  }
}

function read(text) {
  try {
    return JSON.parse(text, exact);
  } catch {
    return null;
  }
}

/* Ids have up to 64 bits, numbers here 53: a longer one is kept as its text. */
function exact(_, value, context) {
  const long = Number.isInteger(value) && !Number.isSafeInteger(value) && /^-?\d+$/.test(context?.source ?? "");
  return long ? context.source : value;
}

function heard(model) {
  const now = performance.now();
  if (model === current || (model === before && now - changed < LATE)) return;
  [before, current, changed] = [current, model, now];
  news.dispatchEvent(new CustomEvent("model", { detail: { model, before } }));
}

export const wasCancelled = (error) => error.name === "AbortError";
