// One order for each account: ORDER_LINES lines, one unit each of products that are far apart in the list, so that
// concurrent orders share some products, in any order; OF_PRODUCTS: of the first ones alone. RUN makes the keys unique
// to this run. With CODES each order names its account's own coupon, of the accounts' coupons in the accounts' order;
// with CODE all name this one code; with POINTS it takes so many. With PAYS=1 the card pays the rest: with WAIT each
// buyer waits that many seconds for the payment and expects 201; without it 202 is expected. `overloaded` makes the buyer
// pause. With FLAKY_EVERY each so many-th order has a card at which the gateway fails twice before it charges.

import { SharedArray } from "k6/data";
import { RUN, asking, turn } from "./measure.js";
export { options } from "./measure.js";

const products = new SharedArray("products", () => JSON.parse(open(__ENV.PRODUCTS)));
const OF_PRODUCTS = Number(__ENV.OF_PRODUCTS || products.length);
const LINES = Number(__ENV.ORDER_LINES || 3);
// The distance between the products of an order, so that none comes twice.
const STEP = Math.floor(OF_PRODUCTS / LINES);
const codes = __ENV.CODES ? new SharedArray("codes", () => JSON.parse(open(__ENV.CODES))) : null;
const PAYS = __ENV.PAYS === "1";
const WAIT = __ENV.WAIT;
const FLAKY_EVERY = Number(__ENV.FLAKY_EVERY || Infinity);
const ask = asking("/orders", PAYS && !WAIT ? 202 : 201, { pausesIfOverloaded: PAYS });

export default function () {
  const first = Math.floor(Math.random() * OF_PRODUCTS);
  const items = [];
  for (let line = 0; line < LINES; line++) {
    items.push({ product: products[(first + line * STEP) % OF_PRODUCTS], quantity: 1 });
  }
  const number = turn();
  const order = { items };
  if (codes || __ENV.CODE) {
    order.coupon = codes ? codes[number] : __ENV.CODE;
  }
  if (__ENV.POINTS) {
    order.points_amount = Number(__ENV.POINTS);
  }
  if (PAYS) {
    order.payment = { token: number % FLAKY_EVERY === FLAKY_EVERY - 1 ? "tok_flaky" : "tok_ok" };
  }
  const headers = { "Idempotency-Key": `${RUN}-${number}` };
  if (WAIT) {
    headers.Prefer = `wait=${WAIT}`;
  }
  ask(JSON.stringify(order), headers);
}
