// What the lab's loads share: when each request is sent, its answer, and how long it took.
//
// The environment says what to do, beside what measure.js reads: LOADS (k6 scenarios as JSON), PAUSE (seconds between a
// caller's requests), PATIENCE (seconds until a caller gives up), PERSISTS (1: callers retry after temporary errors),
// WARM_UP (seconds at the start of a load that count for no time and no rate).

import exec from "k6/execution";
import { sleep } from "k6";
import { Counter, Trend } from "k6/metrics";
import { options as common, turn } from "../measure.js";

const loads = JSON.parse(__ENV.LOADS);
const PAUSE = Number(__ENV.PAUSE);
const WARM_UP_MS = 1000 * Number(__ENV.WARM_UP || 0);

export const options = {
  scenarios: loads,
  summaryTrendStats: common.summaryTrendStats,
};

// Counters must exist before the first request. A code that is in no list counts as `other` of its status.
const CODES = {
  0: [""],
  200: [""],
  201: [""],
  202: [""],
  400: ["invalid"],
  401: ["token_invalid", "not_authenticated"],
  402: ["payment_declined"],
  403: ["permission_denied"],
  404: ["campaign_not_found"],
  409: [
    "sold_out", "conflict", "lock_not_acquired", "campaign_not_open", "campaign_closed", "coupon_void",
    "campaign_paused", "product_paused", "insufficient_stock", "insufficient_points", "coupon_not_usable", "idempotency_key_in_flight",
  ],
  422: ["idempotency_key_reused"],
  429: ["throttled"],
  500: ["internal_error"],
  502: ["partner_failed"],
  503: ["overloaded", "unavailable"],
  504: [],
};
const names = Object.entries(CODES).flatMap(([status, codes]) =>
  [...codes, "other"].map((code) => (code ? `answer_${status}_${code}` : `answer_${status}`)),
);
const answers = Object.fromEntries([...names, "answer_other"].map((name) => [name, new Counter(name)]));

// The time of a call, connecting included, and the time until the caller has the final outcome.
export const took = new Trend("took");
export const settled = new Trend("settled");
// The start and end of every call: their minimum and maximum span the load.
const instants = new Trend("instants");
const answered = new Counter("answered");
// Callers that got, or didn't get, what they asked for within that duration.
const served = new Counter("served");
const failed = new Counter("failed");

// Count the answer to a call, and return its status and code.
export function count(answer) {
  const code = answer.status >= 400 ? codeOf(answer) : "";
  const name = code ? `answer_${answer.status}_${code}` : `answer_${answer.status}`;
  const counter = answers[name] || answers[`answer_${answer.status}_other`] || answers.answer_other;
  counter.add(1);
  answered.add(1);
  if (isWarm(Date.now())) {
    took.add(answer.timings.blocked + answer.timings.duration);
  }
  return { status: answer.status, code };
}

function isWarm(instant) {
  return instant >= exec.scenario.startTime + WARM_UP_MS;
}

// Whether an instant is after the warm-up and within the load's own duration.
function isInTime(instant) {
  const { duration, maxDuration } = loads[exec.scenario.name];
  const most = 1000 * parseInt(duration || maxDuration || "0");
  return isWarm(instant) && instant <= exec.scenario.startTime + most;
}

// Run a caller's calls once, record their times, and pause. `run` returns false if they failed.
export function errand(run) {
  const begun = Date.now();
  const hasFailed = run(turn()) === false;
  const done = Date.now();
  if (isInTime(done)) {
    (hasFailed ? failed : served).add(1);
  }
  if (isWarm(begun)) {
    settled.add(done - begun);
  }
  instants.add(begun);
  instants.add(done);
  sleep(PAUSE);
}

// How many seconds to wait before the next request: Retry-After, or a short pause without it.
export function waitFor(answer) {
  const seconds = Number(answer.headers["Retry-After"]);
  return seconds > 0 ? seconds : 0.2;
}

function codeOf(answer) {
  try {
    return answer.json("code") || "other";
  } catch {
    return "other";
  }
}
