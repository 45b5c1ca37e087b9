// Paying an order with another card, after one was refused.

import { call, NoAnswer, passes } from "./api.js";
import { state, update } from "./state.js";

// Whether the order waits for another card: one was refused, and its time is not over.
export const needsCard = ({ status, payment }) => status === "awaiting_payment" && payment?.status === "failed";

// The key names the refused payment and the card, so a double click and a reload repeat the same call. The page of
// the order reads what becomes of it.
export async function payWith(order, token) {
  if (state.secondCard?.phase === "asking") return;
  update({ secondCard: { phase: "asking" } });
  const body = { order: order.id, token, keep_on_decline: true };
  try {
    const answer = await call("POST", "/payments", { body, key: `${order.payment.id}.${token}` });
    const isTaken = answer.status < 300 || answer.status === 402;
    update({ secondCard: isTaken ? null : { phase: passes(answer) ? "busy" : "refused", answer } });
  } catch (error) {
    if (!(error instanceof NoAnswer)) throw error;
    update({ secondCard: { phase: "busy" } });
  }
}
