// Buying, exactly once. A purchase gets one idempotency key, which is kept in this tab until the shop has
// answered: a double click, a lost answer and a reload repeat the same call, and it has one effect.

import { call, NoAnswer, passes, randomName } from "./api.js";
import { backoff, pause } from "./pacing.js";
import { goTo } from "./routes.js";
import { state, update } from "./state.js";

const STORE = "demo.purchase";
// After that the page of the order follows the payment.
const WAIT_SECONDS = 5;
const LAPSED = 401;
let isRunning = false;
let nudge = new AbortController();

// `body` is that of `POST /orders`. False while another purchase has no answer yet.
export function buy(body) {
  if (!state.account || hasPending()) return false;
  sessionStorage.setItem(place(), JSON.stringify({ key: randomName(), body }));
  settle();
  return true;
}

// Make the account's pending call until it is answered, or until the account signs out: the call waits then
// for the account's next sign-in.
export async function settle() {
  const { account } = state;
  if (isRunning || !account || !hasPending()) return;
  isRunning = true;
  try {
    conclude(account, await answerOf(account, read()));
  } finally {
    isRunning = false;
  }
  // Another account has signed in meanwhile, and has a purchase of its own.
  if (state.account && state.account.id !== account.id) settle();
}

// Try again at once: the network is back, or the reader wants it.
export function tryNow() {
  nudge.abort();
}

// Whether the account has a purchase without an answer.
export const hasPending = () => Boolean(state.account) && read() !== null;

// The product of the purchase that has no answer yet.
export const pendingProduct = () => read()?.body.items[0].product;

// The answer that ends the purchase: that of the order, or a refusal that stays. Null if the account has
// signed out before it came.
async function answerOf(account, { body, key }) {
  for (let attempt = 0; ; attempt += 1) {
    if (state.account?.id !== account.id) return null;
    update({ purchase: { phase: "asking", attempt } });
    const answer = await once(body, key);
    if (answer && !passes(answer)) return answer;
    const seconds = answer?.retryAfter || backoff(attempt);
    update({ purchase: { phase: answer ? "busy" : "offline", attempt, answer } });
    nudge = new AbortController();
    await pause(seconds, nudge.signal);
  }
}

// Null where no answer came: the order may have been placed or not, and the same key finds out.
async function once(body, key) {
  try {
    return await call("POST", "/orders", { body, key, wait: WAIT_SECONDS });
  } catch (error) {
    if (error instanceof NoAnswer) return null;
    throw error;
  }
}

function conclude(account, answer) {
  if (!answer || answer.status === LAPSED || state.account?.id !== account.id) {
    update({ purchase: null });
    return;
  }
  sessionStorage.removeItem(place());
  const order = answer.status === 402 ? answer.body.order : answer.body?.id;
  if (order) {
    update({ purchase: null, form: null });
    goTo(`#/orders/${order}`);
  } else {
    update({ purchase: { phase: "refused", answer } });
  }
}

const place = () => `${STORE}.${state.account.id}`;

const read = () => JSON.parse(sessionStorage.getItem(place()));

window.addEventListener("online", tryNow);
