// One order for each account: ORDER_LINES lines, one each of products that lie apart, so that neighbours in time
// share some products and not others, in whatever order. RUN makes the keys of this run its own.

import { SharedArray } from "k6/data";
import { asking, turn } from "./measure.js";
export { handleSummary, options } from "./measure.js";

const products = new SharedArray("products", () => JSON.parse(open(__ENV.PRODUCTS)));
const LINES = Number(__ENV.ORDER_LINES || 3);
// The range's part apart: never the same product twice.
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
