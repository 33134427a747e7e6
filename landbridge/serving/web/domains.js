/* The catalogues being served, and the shape and colour each is known by. */

import { icon } from "./dom.js";

const SHAPES = [
  "M8 1.5a6.5 6.5 0 1 1 0 13a6.5 6.5 0 0 1 0-13Z",
  "M2.2 2.2h11.6v11.6H2.2Z",
  "M8 1.2l7 12.6H1Z",
  "M8 .6L15.4 8L8 15.4L.6 8Z",
  "M5.6 1.4h4.8v4.2h4.2v4.8h-4.2v4.2H5.6v-4.2H1.4V5.6h4.2Z",
  "M8 14.8L1 2.2h14Z",
  "M2.2 1v14L14.8 8Z",
  "M.5 4.5h15a7.5 7.5 0 0 1-15 0Z",
  "M8 .8a7.2 7.2 0 1 1 0 14.4a7.2 7.2 0 0 1 0-14.4ZM8 4.8a3.2 3.2 0 1 0 0 6.4a3.2 3.2 0 0 0 0-6.4Z",
  "M8 .8l7.4 5.4-2.8 8.7H3.4L.6 6.2Z",
];
const HUES = 10;
let names = [];

/** Take over the names, in the order in which they are shown. */
export function setDomains(given) {
  names = [...given];
}

export const domains = () => names;

/** The class that gives an element its domain's colour. */
export function hue(domain) {
  const place = names.indexOf(domain);
  return place < 0 ? "hue-none" : `hue-${place % HUES}`;
}

/** The domain's shape in its colour; where colours come round again, shapes differ. */
export function glyph(domain) {
  const place = Math.max(names.indexOf(domain), 0);
  const shape = (place + Math.floor(place / HUES)) % SHAPES.length;
  return icon(SHAPES[shape], `glyph ${hue(domain)}`);
}
