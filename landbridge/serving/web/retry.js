/* Trying again by itself: at growing intervals, at once when the network is back or the tab is looked at. */

const FIRST = 2000; // milliseconds
const LONGEST = 30000;

/** ``later()`` calls ``action`` once after a while, ``done()`` gives that up and begins anew. */
export function retrying(action) {
  let pause = FIRST;
  let timer = null;

  function now() {
    if (timer === null) return;
    clearTimeout(timer);
    timer = null;
    action();
  }

  function later() {
    clearTimeout(timer);
    timer = setTimeout(now, pause);
    pause = Math.min(2 * pause, LONGEST);
  }

  function done() {
    clearTimeout(timer);
    timer = null;
    pause = FIRST;
  }

  window.addEventListener("online", now);
  document.addEventListener("visibilitychange", () => document.hidden || now());
  return { later, done };
}
