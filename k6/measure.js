// What every measurement shares: buyers that send one request after the other, each as another account, and the
// figures as JSON. The code for each request is kept small, because k6 shares the machine with what it measures.
//
// Environment: SHOP (its address), ALLOW_HOST (a host other than loopback that may be loaded), TOKENS (a file that
// seed_demo wrote), VUS (buyers at once), SECONDS; for loads other than one request for every account ACCOUNTS (how many
// accounts are used), AGAIN (1: start again with the first account after the last), PAUSE (seconds between a buyer's
// requests), SESSIONS (1: what TOKENS has are ids of sessions); MOST_FAILED and P95_MS (thresholds: k6 then ends with 99).
// README.md says what each script needs besides.

import exec from "k6/execution";
import http from "k6/http";
import { sleep } from "k6";
import { SharedArray } from "k6/data";
import { Counter } from "k6/metrics";

export const SHOP = __ENV.SHOP || "http://127.0.0.1:8000";
const host = /^https?:\/\/([\w.-]+|\[[\w:]+\])(?::\d+)?$/.exec(SHOP)?.[1];
if (!host || !["127.0.0.1", "localhost", "[::1]", __ENV.ALLOW_HOST].includes(host)) {
  throw new Error(`load goes to loopback, or to the host that ALLOW_HOST names; SHOP is ${SHOP}`);
}

// Shared by all VUs, because a copy in each would take gigabytes. Objects rather than strings: k6 freezes what
// it returns, and freezing a string, letter by letter, takes twice as long.
const [HEADER, KIND] = __ENV.SESSIONS === "1" ? ["Cookie", "sessionid="] : ["Authorization", "Bearer "];
const users = new SharedArray("users", () =>
  JSON.parse(open(__ENV.TOKENS)).users.map((user) => ({ proof: KIND + user.access })),
);
const ACCOUNTS = Number(__ENV.ACCOUNTS || users.length);
const PAUSE = Number(__ENV.PAUSE || 0);
// Makes the keys of one run other than those of the next.
export const RUN = __ENV.RUN || `k6-${Date.now()}`;
// Below gracefulStop: a request that k6 cuts off is missing in the figures, and the slowest must be in them.
const TIMEOUT = "25s";

const thresholds = {};
if (__ENV.MOST_FAILED) {
  thresholds.http_req_failed = [`rate<${__ENV.MOST_FAILED}`];
}
if (__ENV.P95_MS) {
  thresholds.http_req_duration = [`p(95)<${__ENV.P95_MS}`];
}

export const options = {
  thresholds,
  scenarios: {
    buyers: {
      // Ends when the time is over or all accounts were used: without AGAIN no account sends a second request,
      // which could be answered from the first.
      executor: "shared-iterations",
      vus: Number(__ENV.VUS || 10),
      iterations: __ENV.AGAIN === "1" ? 100_000_000 : ACCOUNTS,
      maxDuration: `${__ENV.SECONDS || 30}s`,
      gracefulStop: "30s",
    },
  },
  // Parsing answers would use the server's cores; the status is enough.
  discardResponseBodies: true,
  systemTags: [],
  summaryTrendStats: ["avg", "min", "med", "p(90)", "p(95)", "p(99)", "max"],
};

// Counters must exist before the first request; 0 stands for no answer at all.
const STATUSES = [0, 200, 201, 202, 400, 401, 402, 403, 404, 409, 413, 422, 429, 500, 502, 503, 504];
const others = Object.fromEntries(STATUSES.map((status) => [status, new Counter(`status_${status}`)]));
// Answers 503 with the code `overloaded`, for loads with `pausesIfOverloaded`.
const overloaded = new Counter("overloaded");

// The number of this request, from 0 on, over all VUs.
export function turn() {
  return exec.scenario.iterationInTest;
}

// POST as the account with that number.
export function postAs(number, path, body, params = {}) {
  return http.post(`${SHOP}/api/v1${path}`, JSON.stringify(body), {
    ...params,
    headers: { ...signedIn(number), "Content-Type": "application/json", ...params.headers },
  });
}

// GET as the account with that number.
export function getAs(number, path, params = {}) {
  return http.get(`${SHOP}/api/v1${path}`, { ...params, headers: { ...signedIn(number), ...params.headers } });
}

// The header that names the account with that number.
export function signedIn(number) {
  return { [HEADER]: users[number % users.length].proof };
}

// Returns a function that sends a body to that path of the API as the next account; `path` may be a function of the
// number of the account. An answer with another status than `expected` counts as an error. With `pausesIfOverloaded`
// a 503 `overloaded` has a counter of its own, and the buyer pauses for Retry-After.
export function asking(path, expected, { method = "POST", root = "/api/v1", pausesIfOverloaded = false } = {}) {
  const base = SHOP + root;
  const fixed = typeof path === "string" ? base + path : null;
  const responseCallback = http.expectedStatuses(expected);
  return (body, headers = {}) => {
    if (PAUSE && exec.vu.iterationInScenario === 0) {
      sleep(Math.random() * PAUSE); // otherwise all buyers would send at the same moment, every time
    }
    const account = turn() % ACCOUNTS;
    headers[HEADER] = users[account].proof;
    headers["Content-Type"] = "application/json";
    const params = { headers, responseCallback, timeout: TIMEOUT };
    if (pausesIfOverloaded) {
      params.responseType = "text"; // its code is in the body
    }
    const response = http.request(method, fixed ?? base + path(account), body, params);
    if (response.status !== expected) {
      others[response.status]?.add(1);
    }
    if (pausesIfOverloaded && response.status === 503 && response.json("code") === "overloaded") {
      overloaded.add(1);
      sleep(Number(response.headers["Retry-After"] || 1));
    }
    if (PAUSE) {
      sleep(PAUSE);
    }
  };
}
