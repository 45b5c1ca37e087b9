// One order for each account, paid to the end in one call: stock, coupon, points and card, and the wait until
// it has settled. CODES are the accounts' coupons, in their order; RUN makes the keys of this run its own.

import { SharedArray } from "k6/data";
import { asking, turn } from "./measure.js";
export { handleSummary, options } from "./measure.js";

const products = new SharedArray("products", () => JSON.parse(open(__ENV.PRODUCTS)));
const codes = new SharedArray("codes", () => JSON.parse(open(__ENV.CODES)));
const POINTS = 1000;
const ask = asking("/orders", 201);

export default function () {
  const number = turn();
  const order = {
    items: [{ product: products[number % products.length], quantity: 1 }],
    coupon: codes[number],
    points_amount: POINTS,
    payment: { token: "tok_ok" },
  };
  ask(JSON.stringify(order), { "Idempotency-Key": `${__ENV.RUN}-${number}`, Prefer: "wait=20" });
}
