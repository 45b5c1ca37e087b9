// One order for each account: ORDER_LINES lines, one unit each of products that are far apart in the list, so that
// concurrent orders share some products, in any order. RUN makes the keys unique to this run. With CODES each order
// names its account's own coupon, of the accounts' coupons in the accounts' order; with CODE all name this one code.

import { SharedArray } from "k6/data";
import { asking, turn } from "./measure.js";
export { handleSummary, options } from "./measure.js";

const products = new SharedArray("products", () => JSON.parse(open(__ENV.PRODUCTS)));
const LINES = Number(__ENV.ORDER_LINES || 3);
// The distance between the products of an order, so that none comes twice.
const STEP = Math.floor(products.length / LINES);
const codes = __ENV.CODES ? new SharedArray("codes", () => JSON.parse(open(__ENV.CODES))) : null;
const ask = asking("/orders", 201);

export default function () {
  const first = Math.floor(Math.random() * products.length);
  const items = [];
  for (let line = 0; line < LINES; line++) {
    items.push({ product: products[(first + line * STEP) % products.length], quantity: 1 });
  }
  const number = turn();
  const order = { items };
  if (codes || __ENV.CODE) {
    order.coupon = codes ? codes[number] : __ENV.CODE;
  }
  ask(JSON.stringify(order), { "Idempotency-Key": `${__ENV.RUN}-${number}` });
}
