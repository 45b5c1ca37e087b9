// One order for each account, in one call. PAYS=1: the call pays by card and waits for the payment. CODES are the
// accounts' coupons, in the accounts' order: with them an order has its coupon, and points. With a PATIENCE of more
// than 0 s a caller that is answered 202 polls the order until it is paid. RUN makes the keys unique to this load.

import { sleep } from "k6";
import { SharedArray } from "k6/data";
import { getAs, postAs } from "../measure.js";
import { count, errand, waitFor } from "./asking.js";
export { options } from "./asking.js";

const products = new SharedArray("products", () => JSON.parse(open(__ENV.PRODUCTS)));
const codes = __ENV.CODES ? new SharedArray("codes", () => JSON.parse(open(__ENV.CODES))) : null;
const POINTS = 1000;
const PAYS = __ENV.PAYS === "1";
const PATIENCE_MS = Number(__ENV.PATIENCE) * 1000;

export default function () {
  errand((number) => {
    const givesUpAt = Date.now() + PATIENCE_MS;
    const order = { items: [{ product: products[number % products.length], quantity: 1 }] };
    const headers = { "Idempotency-Key": `${__ENV.RUN}-${number}` };
    if (codes) {
      order.coupon = codes[number];
      order.points_amount = POINTS;
    }
    if (PAYS) {
      order.payment = { token: "tok_ok" };
      headers.Prefer = "wait=20";
    }
    const answer = postAs(number, "/orders", order, { headers, timeout: "40s" });
    const { status } = count(answer);
    if (status === 202 && PATIENCE_MS) {
      return pollUntilPaid(number, answer, givesUpAt);
    }
    return status === 201 || status === 202;
  });
}

function pollUntilPaid(number, answer, givesUpAt) {
  const path = `/orders/${answer.json("id")}`;
  while (Date.now() < givesUpAt) {
    sleep(waitFor(answer));
    answer = getAs(number, path, { timeout: "40s" });
    if (answer.status === 200 && answer.json("status") === "paid") {
      return true;
    }
  }
  return false;
}
