// What every measurement shares: 100 buyers, each request by another account, and the figures as JSON.
//
// The environment says what to do: URL (loopback), TOKENS (a file that seed_demo wrote), SUMMARY (the file
// for the figures), SECONDS, VUS.

import exec from "k6/execution";
import http from "k6/http";
import { SharedArray } from "k6/data";
import { Counter } from "k6/metrics";

const URL = __ENV.URL;
if (!/^http:\/\/127\.0\.0\.1:\d+$/.test(URL)) {
  throw new Error(`load goes to loopback only, and URL is ${URL}`);
}

// Shared by all VUs: a copy in each would be gigabytes.
const users = new SharedArray("users", () => JSON.parse(open(__ENV.TOKENS)).users);

export const options = {
  scenarios: {
    buyers: {
      // Ends when the time or the accounts run out: no account asks twice, for a second request could be
      // answered from the first.
      executor: "shared-iterations",
      vus: Number(__ENV.VUS),
      iterations: users.length,
      maxDuration: `${__ENV.SECONDS}s`,
      gracefulStop: "30s",
    },
  },
  // Parsing answers would take the server's cores; the status says enough.
  discardResponseBodies: true,
  summaryTrendStats: ["med", "p(95)", "max"],
};

// Counters have to exist before the first request; 0 stands for no answer at all.
const STATUSES = [0, 400, 401, 403, 404, 409, 413, 422, 429, 500, 502, 503, 504];
const refused = Object.fromEntries(STATUSES.map((status) => [status, new Counter(`status_${status}`)]));

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
  return http.get(`${URL}/api/v1${path}`, { ...params, headers: signedIn(number) });
}

function signedIn(number) {
  return { Authorization: `Bearer ${users[number % users.length].access}` };
}

// POST as the account whose turn it is; an answer of another status than `expected` counts as an error.
export function post(path, body, expected, headers = {}) {
  const answer = postAs(turn(), path, body, {
    headers,
    responseCallback: http.expectedStatuses(expected),
  });
  if (answer.status !== expected) {
    refused[answer.status]?.add(1);
  }
}

export function handleSummary(data) {
  const { http_req_duration: took, http_req_failed: failed } = data.metrics;
  const counted = STATUSES.filter((status) => data.metrics[`status_${status}`]);
  const figures = {
    seconds: data.state.testRunDurationMs / 1000,
    requests: failed.values.passes + failed.values.fails,
    // Of the rate "failed", a pass is a request that failed.
    errors: failed.values.passes,
    statuses: Object.fromEntries(
      counted.map((status) => [status, data.metrics[`status_${status}`].values.count]),
    ),
    p50_ms: took.values.med,
    p95_ms: took.values["p(95)"],
    max_ms: took.values.max,
  };
  return { [__ENV.SUMMARY]: JSON.stringify(figures) };
}
