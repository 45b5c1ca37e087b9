// Each account polls its own entry of a waiting room once, with `Prefer: wait`, on a connection of its own. `late` is the
// time from the admission of the entry, whose order it has HOLD seconds to place, to the answer.

import { SharedArray } from "k6/data";
import { Counter, Trend } from "k6/metrics";
import { getAs, options as common } from "./measure.js";

const entries = new SharedArray("entries", () => JSON.parse(open(__ENV.ENTRIES)));
const late = new Trend("late");
const unadmitted = new Counter("status_unadmitted");

export const options = {
  ...common,
  scenarios: {
    waiting: { executor: "per-vu-iterations", vus: entries.length, iterations: 1, maxDuration: `${__ENV.SECONDS}s` },
  },
};

export default function () {
  const number = __VU - 1;
  const params = { headers: { Prefer: "wait=30" }, responseType: "text", timeout: "35s" };
  const answer = getAs(number, `/sale-entries/${entries[number]}`, params);
  const until = answer.status === 200 ? answer.json("admitted_until") : null;
  if (until) {
    late.add(Date.now() - (Date.parse(until) - 1000 * Number(__ENV.HOLD)));
  } else {
    unadmitted.add(1);
  }
}
