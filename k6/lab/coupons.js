// Each caller requests a coupon of CAMPAIGN, polls its queue ticket, and retries temporary errors.

import { sleep } from "k6";
import { Counter } from "k6/metrics";
import { getAs, postAs } from "../measure.js";
import { count, errand, waitFor } from "./asking.js";
export { options } from "./asking.js";

const PATIENCE_MS = Number(__ENV.PATIENCE) * 1000;
const PERSISTS = __ENV.PERSISTS === "1";
const TIMEOUT = { timeout: "60s" };

// Callers with a coupon, by a direct answer or by a queue ticket.
const coupons = new Counter("coupons");
const polls = new Counter("polls");
// Callers without a definite answer.
const unsure = new Counter("unsure");
const tickets = Object.fromEntries(
  ["issued", "sold_out", "failed"].map((status) => [status, new Counter(`ticket_${status}`)]),
);

export default function () {
  errand((number) => {
    const givesUpAt = Date.now() + PATIENCE_MS;
    const outcome = requestCoupon(number, givesUpAt);
    if (outcome === "coupon") {
      coupons.add(1);
    } else if (outcome === "unsure") {
      unsure.add(1);
    }
  });
}

function requestCoupon(number, givesUpAt) {
  let isFirst = true;
  for (;;) {
    const answer = postAs(number, "/coupons", { campaign: Number(__ENV.CAMPAIGN) }, TIMEOUT);
    const { status } = count(answer);
    if (status === 201 || (status === 200 && !isFirst)) {
      return "coupon";
    }
    if (status === 202) {
      const outcome = pollTicket(number, answer, givesUpAt);
      if (outcome === "failed" && PERSISTS && Date.now() < givesUpAt) {
        isFirst = false;
        continue;
      }
      return outcome;
    }
    const isTemporary = PERSISTS && (status === 0 || status >= 500 || "Retry-After" in answer.headers);
    if (!isTemporary || Date.now() > givesUpAt) {
      return status === 0 || status === 500 || status === 504 ? "unsure" : "refused";
    }
    isFirst = false;
    sleep(waitFor(answer));
  }
}

// Poll the ticket until it has a final status.
function pollTicket(number, answer, givesUpAt) {
  const id = answer.json("id");
  while (Date.now() < givesUpAt) {
    sleep(waitFor(answer));
    answer = getAs(number, `/queue-tickets/${id}`, TIMEOUT);
    polls.add(1);
    const status = answer.status === 200 ? answer.json("status") : "waiting";
    if (status !== "waiting") {
      tickets[status].add(1);
      return status === "issued" ? "coupon" : status;
    }
  }
  return "unsure";
}
