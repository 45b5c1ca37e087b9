// One order for each account: stock, coupon, points and card in one call, which waits for the payment.

import { SharedArray } from "k6/data";
import { postAs } from "../measure.js";
import { count, errand } from "./asking.js";
export { handleSummary, options } from "./asking.js";

const products = new SharedArray("products", () => JSON.parse(open(__ENV.PRODUCTS)));
// The coupon of each account, in the accounts' order.
const codes = new SharedArray("codes", () => JSON.parse(open(__ENV.CODES)));
const POINTS = 1000;

export default function () {
  errand((number) => {
    const order = {
      items: [{ product: products[number % products.length], quantity: 1 }],
      coupon: codes[number],
      points_amount: POINTS,
      payment: { token: "tok_ok" },
    };
    const headers = { "Idempotency-Key": `${__ENV.RUN}-${number}`, Prefer: "wait=20" };
    count(postAs(number, "/orders", order, { headers, timeout: "40s" }));
  });
}
