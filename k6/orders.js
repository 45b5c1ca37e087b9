// One order for each account: ORDER_LINES lines, one unit each of products that are far apart in the list, so that
// concurrent orders share some products, in any order. RUN makes the keys unique to this run.

import { SharedArray } from "k6/data";
import { asking, turn } from "./measure.js";
export { handleSummary, options } from "./measure.js";

const products = new SharedArray("products", () => JSON.parse(open(__ENV.PRODUCTS)));
const LINES = Number(__ENV.ORDER_LINES || 3);
// The distance between the products of an order, so that none comes twice.
const STEP = Math.floor(products.length / LINES);
const ask = asking("/orders", 201);

export default function () {
  const first = Math.floor(Math.random() * products.length);
  const items = [];
  for (let line = 0; line < LINES; line++) {
    items.push({ product: products[(first + line * STEP) % products.length], quantity: 1 });
  }
  ask(JSON.stringify({ items }), { "Idempotency-Key": `${__ENV.RUN}-${turn()}` });
}
