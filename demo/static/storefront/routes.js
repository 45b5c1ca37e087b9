// Which page is shown: the part of the address after the `#`, with ids and nothing secret.

import { update } from "./state.js";

const ROUTES = [
  [/^#\/buy\/(\d+)$/, "buy"],
  [/^#\/orders\/([0-9a-f-]{36})$/, "order"],
  [/^#\/sign-in$/, "sign_in"],
];

export function readRoute() {
  for (const [pattern, name] of ROUTES) {
    const found = pattern.exec(location.hash);
    if (found) return { name, id: found[1] ?? "" };
  }
  return { name: "home", id: "" };
}

export function goTo(hash) {
  if (location.hash !== hash) location.hash = hash;
  else update({ route: readRoute() });
}
