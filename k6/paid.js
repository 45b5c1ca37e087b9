// One order for each account, paid by card, or with CODES by coupon, points and card. CODES are the accounts'
// coupons, in the accounts' order; RUN makes the keys unique to this run. With WAIT each buyer waits that many
// seconds for the payment and expects 201; without it 202 is expected, and `overloaded` makes the buyer pause.

import { SharedArray } from "k6/data";
import { asking, turn } from "./measure.js";
export { handleSummary, options } from "./measure.js";

const POINTS = 1000;
const WAIT = Number(__ENV.WAIT || 0);
const products = new SharedArray("products", () => JSON.parse(open(__ENV.PRODUCTS)));
const codes = __ENV.CODES ? new SharedArray("codes", () => JSON.parse(open(__ENV.CODES))) : null;
const ask = WAIT ? asking("/orders", 201) : asking("/orders", 202, { pausesIfOverloaded: true });

export default function () {
  const number = turn();
  const order = {
    items: [{ product: products[number % products.length], quantity: 1 }],
    payment: { token: "tok_ok" },
  };
  if (codes) {
    order.coupon = codes[number];
    order.points_amount = POINTS;
  }
  const headers = { "Idempotency-Key": `${__ENV.RUN}-${number}` };
  if (WAIT) {
    headers.Prefer = `wait=${WAIT}`;
  }
  ask(JSON.stringify(order), headers);
}
