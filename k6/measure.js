// What every measurement shares: buyers that send one request after the other, each as another account, and the
// figures as JSON. The code for each request is kept small, because k6 shares the machine with what it measures.
//
// Environment: URL (loopback), TOKENS (a file that seed_demo wrote), SUMMARY (the file for the figures),
// SECONDS, VUS; and for loads other than one request for every account: ACCOUNTS (how many accounts are used),
// AGAIN (1: start again with the first account after the last), PAUSE (seconds between a buyer's requests),
// SESSIONS (1: what TOKENS has are ids of sessions).

import exec from "k6/execution";
import http from "k6/http";
import { sleep } from "k6";
import { SharedArray } from "k6/data";
import { Counter } from "k6/metrics";

const URL = __ENV.URL;
if (!/^http:\/\/127\.0\.0\.1:\d+$/.test(URL)) {
  throw new Error(`load goes to loopback only, and URL is ${URL}`);
}

// Shared by all VUs, because a copy in each would take gigabytes. Objects rather than strings: k6 freezes what
// it returns, and freezing a string, letter by letter, takes twice as long.
const [HEADER, KIND] = __ENV.SESSIONS === "1" ? ["Cookie", "sessionid="] : ["Authorization", "Bearer "];
const users = new SharedArray("users", () =>
  JSON.parse(open(__ENV.TOKENS)).users.map((user) => ({ proof: KIND + user.access })),
);
const ACCOUNTS = Number(__ENV.ACCOUNTS || users.length);
const PAUSE = Number(__ENV.PAUSE || 0);
// Below gracefulStop: a request that k6 cuts off is missing in the figures, and the slowest must be in them.
const TIMEOUT = "25s";

export const options = {
  scenarios: {
    buyers: {
      // Ends when the time is over or all accounts were used: without AGAIN no account sends a second request,
      // which could be answered from the first.
      executor: "shared-iterations",
      vus: Number(__ENV.VUS),
      iterations: __ENV.AGAIN === "1" ? 100_000_000 : ACCOUNTS,
      maxDuration: `${__ENV.SECONDS}s`,
      gracefulStop: "30s",
    },
  },
  // Parsing answers would use the server's cores; the status is enough.
  discardResponseBodies: true,
  systemTags: [],
  summaryTrendStats: ["med", "p(95)", "max"],
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
  return http.post(`${URL}/api/v1${path}`, JSON.stringify(body), {
    ...params,
    headers: { ...signedIn(number), "Content-Type": "application/json", ...params.headers },
  });
}

// GET as the account with that number.
export function getAs(number, path, params = {}) {
  return http.get(`${URL}/api/v1${path}`, { ...params, headers: { ...signedIn(number), ...params.headers } });
}

// The header that names the account with that number.
export function signedIn(number) {
  return { [HEADER]: users[number % users.length].proof };
}

// Returns a function that sends a body to that path of the API as the next account; `path` may be a function of the
// number of the account. An answer with another status than `expected` counts as an error. With `pausesIfOverloaded`
// a 503 `overloaded` has a counter of its own, and the buyer pauses for Retry-After.
export function asking(path, expected, { method = "POST", root = "/api/v1", pausesIfOverloaded = false } = {}) {
  const base = URL + root;
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

// Every metric with k6's own sums: lab/load.py reads them.
export function handleSummary(data) {
  const metrics = Object.entries(data.metrics).map(([name, metric]) => [name, metric.values]);
  const seconds = data.state.testRunDurationMs / 1000;
  return { [__ENV.SUMMARY]: JSON.stringify({ seconds, metrics: Object.fromEntries(metrics) }) };
}
