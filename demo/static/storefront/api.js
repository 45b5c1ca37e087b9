// Calls of the shop's public API. Every answer is returned, whatever its status; no answer raises `NoAnswer`.

import { setClock } from "./format.js";
import { options } from "./options.js";
import { state, update } from "./state.js";

const TOKENS = "demo.tokens";
const ANSWER_SECONDS = 15;

export class NoAnswer extends Error {}

// The tokens of this tab: gone with it, and never in an address. `signIn` is one value for all tokens that
// come from one sign-in.
export const tokens = {
  read: () => JSON.parse(sessionStorage.getItem(TOKENS)),
  keep: ({ access, refresh }, signIn = randomName()) =>
    sessionStorage.setItem(TOKENS, JSON.stringify({ access, refresh, signIn })),
  forget: () => sessionStorage.removeItem(TOKENS),
};

// `key` is an idempotency key; `wait` says for how many seconds the shop may wait with its answer. A public
// call has no token, so that all readers share what the shop has cached.
export async function call(method, path, { isPublic = false, ...asked } = {}) {
  if (isPublic) return send(method, path, asked);
  const used = tokens.read();
  const answer = await send(method, path, { ...asked, access: used?.access });
  if (answer.status !== 401 || !used) return answer;
  // Another call may have refreshed them meanwhile.
  const refused = tokens.read()?.access === used.access ? await refresh() : null;
  if (refused) return refused;
  const renewed = tokens.read();
  // A call of one account is never made as another that has signed in meanwhile.
  return renewed?.signIn === used.signIn ? send(method, path, { ...asked, access: renewed.access }) : answer;
}

// The stable word on which programs branch; empty for a success.
export const codeOf = (answer) => answer.body?.code ?? "";

// 128 random bits. `crypto.randomUUID` is missing on pages without TLS.
export function randomName() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// Whether it passes by itself: the same call, with the same key, may be made again.
export const passes = (answer) =>
  [408, 429, 500, 502, 503, 504].includes(answer.status) ||
  (answer.status === 409 && ["idempotency_key_in_flight", "conflict", "lock_not_acquired"].includes(codeOf(answer)));

let refreshing = null;

// Null once there are new tokens, else the answer that refused them. Calls that need it share one refresh,
// because a refresh token is good once.
function refresh() {
  refreshing ??= exchange().finally(() => {
    refreshing = null;
  });
  return refreshing;
}

async function exchange() {
  const { refresh, signIn } = tokens.read();
  const answer = await send("POST", "/auth/refresh", { body: { refresh } });
  // Signed out meanwhile: these tokens are not this tab's any more.
  if (tokens.read()?.signIn !== signIn) return null;
  if (answer.status === 200) {
    tokens.keep(answer.body, signIn);
    return null;
  }
  if (answer.status === 401) {
    tokens.forget();
    update({ account: null, isSignedOut: true });
  }
  return answer;
}

async function send(method, path, { body, key, wait = 0, access, signal }) {
  const headers = { Accept: "application/json" };
  if (access) headers.Authorization = `Bearer ${access}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (key) headers["Idempotency-Key"] = key;
  if (wait) headers.Prefer = `wait=${wait}`;
  const limit = AbortSignal.timeout((wait + ANSWER_SECONDS) * 1000);
  try {
    const response = await fetch(`${options.api}${path}`, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: signal ? AbortSignal.any([signal, limit]) : limit,
    });
    setClock(response.headers.get("Date"));
    return {
      status: response.status,
      body: response.status === 204 ? null : await response.json(),
      retryAfter: Number(response.headers.get("Retry-After")) || 0,
    };
  } catch (error) {
    throw new NoAnswer(`${method} ${path}: ${error.message}`, { cause: error });
  }
}
