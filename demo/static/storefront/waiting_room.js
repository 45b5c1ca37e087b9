// Waiting rooms: an account's entry of a sale, from the moment it is made until it is used or over.

import { call, NoAnswer, passes } from "./api.js";
import { text } from "./options.js";
import { backoff, pause } from "./pacing.js";
import { refusalText } from "./refusals.js";
import { announce, state, update } from "./state.js";

const STORE = "demo.entries";
// The shop answers at once when the account is admitted. How many are ahead changes without that, so the wait
// is short.
const WAIT_SECONDS = 4;
const ADMITTED_SECONDS = 3;
const ENDED = ["used", "expired", "over"];
let followed = new AbortController();

// Get a place, or the one that the account has: asking again changes nothing while it waits.
export async function enter(saleId) {
  const { signal } = followed;
  if (isBusy(saleId)) return;
  set(saleId, { phase: "asking" });
  const answer = await ask("POST", `/sales/${saleId}/entries`, { body: {}, signal });
  if (signal.aborted) return;
  if (answer?.status >= 200 && answer?.status < 300) {
    keep(saleId, answer.body.id);
    await follow(saleId, answer);
  } else {
    set(saleId, { phase: "refused", message: answer ? refusalText(answer) : text("offline") });
  }
}

// Go on with the entries that this tab has of the account, after a reload.
export function resumeEntries() {
  followed.abort();
  followed = new AbortController();
  for (const [saleId, entryId] of Object.entries(kept())) followAgain(Number(saleId), entryId);
}

// The account is signed out: its entries stay in the shop, and are found again by asking for them.
export function forgetEntries() {
  followed.abort();
  sessionStorage.removeItem(STORE);
  update({ entries: {} });
}

export const entryOf = (saleId) => state.entries[saleId]?.entry;

export const mayOrder = (sale) => sale.admission === "open" || entryOf(sale.id)?.status === "admitted";

const isBusy = (saleId) => ["asking", "following"].includes(state.entries[saleId]?.phase);

async function followAgain(saleId, entryId) {
  const { signal } = followed;
  set(saleId, { phase: "asking" });
  const answer = await ask("GET", `/sale-entries/${entryId}`, { signal });
  if (signal.aborted) return;
  if (answer?.status === 200) await follow(saleId, answer);
  else set(saleId, { phase: "idle" });
}

// Show the entry until it has ended. While it waits, the answer's Retry-After says how soon it may be read again.
async function follow(saleId, answer) {
  const { signal } = followed;
  for (let failures = 0; !signal.aborted; ) {
    if (answer?.status === 200 || answer?.status === 202) {
      failures = 0;
      show(saleId, answer.body);
      if (ENDED.includes(answer.body.status)) return;
    } else if (answer && !passes(answer)) {
      set(saleId, { phase: "refused", message: refusalText(answer) });
      return;
    } else {
      failures += 1;
      set(saleId, { ...state.entries[saleId], isStale: true });
    }
    await pause(answer?.retryAfter || (failures ? backoff(failures) : ADMITTED_SECONDS), signal);
    if (signal.aborted) return;
    const entryId = state.entries[saleId].entry.id;
    answer = await ask("GET", `/sale-entries/${entryId}`, { wait: WAIT_SECONDS, signal });
  }
}

async function ask(method, path, asked) {
  try {
    return await call(method, path, asked);
  } catch (error) {
    if (error instanceof NoAnswer) return null;
    throw error;
  }
}

function show(saleId, entry) {
  const before = entryOf(saleId);
  set(saleId, { phase: ENDED.includes(entry.status) ? "ended" : "following", entry });
  if (before?.status !== entry.status) announce(text(`room.${entry.status}.title`));
}

const set = (saleId, found) => update({ entries: { ...state.entries, [saleId]: found } });

// The ids of the entries, by sale, of the account that is signed in.
function kept() {
  const found = JSON.parse(sessionStorage.getItem(STORE));
  return found?.account === state.account.id ? found.entries : {};
}

function keep(saleId, entryId) {
  const entries = { ...kept(), [saleId]: entryId };
  sessionStorage.setItem(STORE, JSON.stringify({ account: state.account.id, entries }));
}
