/* A list's request as a command for a shell. */

const KEY = '-H "x-api-key: $LANDBRIDGE_API_KEY"'; // the key itself is never part of a command
const BEYOND_ASCII = /[\u007f-\uffff]/g;

/** Text in single quotes, which a POSIX shell takes as it is. */
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/* Of ASCII signs alone: no terminal or character set changes them, and no sign turns the direction of the line. */
const asciiJson = (value) =>
  JSON.stringify(value).replace(BEYOND_ASCII, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`);

/** The command that sends a request of the page, {path, body}, with a key or without. */
export function curlCommand({ path, body }, withKey) {
  const parts = ["curl -s", quoted(new URL(path, document.baseURI).href)];
  if (withKey) parts.push(KEY);
  if (body !== undefined) parts.push("-H 'content-type: application/json'", "-d", quoted(asciiJson(body)));
  return parts.join(" ");
}
