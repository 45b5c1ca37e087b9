// What every visitor sees, read every few seconds while the page is seen: products, campaigns and sales.

import { call, NoAnswer } from "./api.js";
import { secondsUntil } from "./format.js";
import { text } from "./options.js";
import { pause, seen } from "./pacing.js";
import { announce, state, update } from "./state.js";

const PERIOD_SECONDS = 2;
const MOST = 100;
// False for a shop whose API has no sales.
let hasSales = true;
let nudge = new AbortController();

// Read for as long as the page is open. Campaigns and sales change less often than what is left of products.
export async function watch() {
  for (let turn = 0; ; turn += 1) {
    await seen();
    await refresh({ isWhole: turn % 3 === 0 || hasOpened() });
    nudge = new AbortController();
    await pause(PERIOD_SECONDS * (0.9 + Math.random() / 5), nudge.signal);
  }
}

// Read at once: when a purchase is sent, and when the network is back.
export const readNow = () => nudge.abort();

// Whether the time has come for something that was scheduled when it was read.
const hasOpened = () =>
  [...(state.sales ?? []), ...(state.campaigns ?? [])].some(
    ({ status, opens_at }) => status === "scheduled" && secondsUntil(opens_at) === 0,
  );

async function refresh({ isWhole }) {
  const paths = ["products", ...(isWhole ? ["campaigns"] : []), ...(isWhole && hasSales ? ["sales"] : [])];
  try {
    const answers = await Promise.all(
      paths.map((path) => call("GET", `/${path}?limit=${MOST}`, { isPublic: true })),
    );
    answers.forEach((answer, place) => take(paths[place], answer));
    update({ isStale: answers.some((answer) => answer.status >= 500) });
  } catch (error) {
    if (!(error instanceof NoAnswer)) throw error;
    update({ isStale: true });
  }
}

function take(name, answer) {
  if (answer.status === 200) {
    if (name === "products") announceSoldOut(answer.body.results);
    update({ [name]: answer.body.results });
  } else if (name === "sales" && answer.status === 404) {
    hasSales = false;
    update({ sales: [] });
  }
}

function announceSoldOut(products) {
  const before = new Map(state.products?.map((product) => [product.id, product.availability]));
  const gone = products.filter(
    ({ id, availability }) => availability === "sold_out" && before.has(id) && before.get(id) !== "sold_out",
  );
  if (gone.length) announce(gone.map(({ name }) => text("sold_out.now", { name })).join(" "));
}
