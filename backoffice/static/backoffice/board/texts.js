// The page's texts in the viewer's language, as the template has them.

import { byId } from "./elements.js";

const { words: known, laws } = JSON.parse(byId("options").textContent);
const texts = Object.fromEntries([...byId("texts").content.children].map((one) => [one.dataset.name, one.textContent]));

// The text of this name, with the values in the places of `{…}`.
export function text(name, values = {}) {
  return texts[name].replace(/\{(\w+)\}/g, (_, key) => values[key]);
}

// `sold_out` as people read it.
export function words(code) {
  return known[code] ?? texts[`word.${code}`] ?? code.replaceAll("_", " ");
}

// What a law says.
export function lawText(law) {
  return laws[law] ?? "";
}
