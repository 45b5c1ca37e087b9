// VUS times EACH orders of one unit with POINTS, a card and `Prefer: wait`, answered 201 or 202, each on a connection of its own, which is
// opened for its request: the first of them at once, the last after SPREAD seconds. A VU sends its orders together, for k6 takes
// megabytes for each VU. RUN makes the keys unique to this run.

import { sleep } from "k6";
import { SharedArray } from "k6/data";
import http from "k6/http";
import { RUN, SHOP, options as common, signedIn } from "./measure.js";

const products = new SharedArray("products", () => JSON.parse(open(__ENV.PRODUCTS)));
const VUS = Number(__ENV.VUS);
const EACH = Number(__ENV.EACH);
const TIMEOUT = "70s";
http.setResponseCallback(http.expectedStatuses(201, 202));

export const options = {
  ...common,
  batch: EACH,
  batchPerHost: EACH,
  scenarios: {
    waiting: { executor: "per-vu-iterations", vus: VUS, iterations: 1, maxDuration: `${__ENV.SECONDS}s`, gracefulStop: "1s" },
  },
};

export default function () {
  sleep(((__VU - 1) / VUS) * Number(__ENV.SPREAD));
  const requests = [];
  for (let number = (__VU - 1) * EACH; number < __VU * EACH; number++) {
    const items = [{ product: products[number % products.length], quantity: 1 }];
    const headers = { ...signedIn(number), "Content-Type": "application/json", Prefer: "wait=30" };
    headers["Idempotency-Key"] = `${RUN}-${number}`;
    const body = JSON.stringify({ items, points_amount: Number(__ENV.POINTS), payment: { token: "tok_ok" } });
    requests.push({ method: "POST", url: `${SHOP}/api/v1/orders`, body, params: { headers, timeout: TIMEOUT } });
  }
  http.batch(requests);
}
