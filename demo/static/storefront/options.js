// What the page says about itself: language, currency, addresses, and the texts of its scripts.

export const options = JSON.parse(document.getElementById("options").textContent);

// The text of this name in the reader's language, with the values in the places of `{…}`.
export function text(name, values = {}) {
  return options.texts[name].replace(/\{(\w+)\}/g, (_, key) => values[key]);
}

// Whether the page has a text of this name.
export const hasText = (name) => Object.hasOwn(options.texts, name);
