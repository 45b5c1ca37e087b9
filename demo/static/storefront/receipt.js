// One order and its timeline, read until nothing of it moves any more.

import { call, NoAnswer, passes } from "./api.js";
import { backoff, pause, seen } from "./pacing.js";
import { refreshAccount } from "./session.js";
import { state, update } from "./state.js";

const PERIOD_SECONDS = 1;
const MOVING = ["awaiting_payment", "paying", "refunding"];
// After its order was paid a purchase sends the order's event to the data platform, which is its last line.
const LAST_LINE = "transmit.done";
const READINGS_AFTERWARDS = 10;
let shown = new AbortController();

export function leaveReceipt() {
  shown.abort();
  update({ receipt: null, secondCard: null });
}

// Read the order for as long as its page is shown.
export async function watchOrder(id) {
  shown.abort();
  shown = new AbortController();
  const { signal } = shown;
  update({ receipt: { id, order: null, timeline: [], message: null } });
  for (let readings = 0, failures = 0; readings < READINGS_AFTERWARDS; ) {
    const found = await read(id, signal);
    if (signal.aborted) return;
    failures = found.isMissed ? failures + 1 : 0;
    update({ receipt: { ...state.receipt, ...found } });
    if (found.refused) return;
    const { order, timeline } = state.receipt;
    if (order && !MOVING.includes(order.status) && !found.isMissed) {
      if (readings === 0) refreshAccount();
      readings += 1;
      if (order.status !== "paid" || timeline.some((line) => line.event === LAST_LINE)) return;
    }
    await pause(failures ? backoff(failures) : PERIOD_SECONDS, signal);
    await seen();
    if (signal.aborted) return;
  }
}

async function read(id, signal) {
  try {
    const [order, timeline] = await Promise.all([
      call("GET", `/orders/${id}`, { signal }),
      call("GET", `/orders/${id}/timeline`, { signal }),
    ]);
    if (order.status === 200 && timeline.status === 200) {
      return { order: order.body, timeline: timeline.body.results, isMissed: false };
    }
    const refused = [order, timeline].find((answer) => answer.status !== 200 && !passes(answer));
    return refused ? { refused } : { isMissed: true };
  } catch (error) {
    if (error instanceof NoAnswer) return { isMissed: true };
    throw error;
  }
}
