// Claiming a coupon. An account has at most one of a campaign, so the call may be repeated as it is.

import { call, codeOf, NoAnswer, passes } from "./api.js";
import { text } from "./options.js";
import { backoff, pause } from "./pacing.js";
import { refreshAccount } from "./session.js";
import { announce, state, update } from "./state.js";

const TRIES = 6;

export async function claim(campaign) {
  if (["asking", "waiting"].includes(state.claims[campaign.id]?.phase)) return;
  const { account } = state;
  set(campaign, { phase: "asking" });
  const answer = await untilAnswered("POST", "/coupons", { body: { campaign: campaign.id } });
  const ended = answer?.status === 202 ? await follow(campaign, answer) : answer;
  // The account may have signed out meanwhile; the coupon is there when it is back.
  if (state.account === account) show(campaign, ended);
}

// Wait in the campaign's queue: the ticket says how many are ahead, and its answer when to ask again. Returns
// what the claim would have been answered without a queue.
async function follow(campaign, answer) {
  while (answer?.body?.status === "waiting") {
    set(campaign, { phase: "waiting", ahead: answer.body.ahead });
    await pause(answer.retryAfter || 1);
    answer = await untilAnswered("GET", `/queue-tickets/${answer.body.id}`, { wait: 10 });
  }
  if (answer?.status !== 200) return answer;
  if (answer.body.status === "issued") return { status: 201, body: answer.body.coupon };
  return { status: 409, body: { code: answer.body.status } };
}

// Null if the shop does not answer, however often it is asked.
async function untilAnswered(method, path, asked) {
  let answer = null;
  for (let attempt = 0; attempt < TRIES; attempt += 1) {
    if (attempt) await pause(answer?.retryAfter || backoff(attempt));
    answer = await call(method, path, asked).catch((error) => {
      if (error instanceof NoAnswer) return null;
      throw error;
    });
    if (answer && !passes(answer)) return answer;
  }
  return answer;
}

function show(campaign, answer) {
  if (answer?.status === 200 || answer?.status === 201) {
    set(campaign, { phase: "issued", coupon: answer.body, isNew: answer.status === 201 });
    announce(text("coupon.issued", { code: answer.body.code }));
    refreshAccount();
  } else if (answer && codeOf(answer) === "sold_out") {
    set(campaign, { phase: "sold_out" });
    announce(text("sold_out.now", { name: campaign.name }));
  } else {
    set(campaign, { phase: "refused", answer });
  }
}

const set = (campaign, claimed) => update({ claims: { ...state.claims, [campaign.id]: claimed } });
