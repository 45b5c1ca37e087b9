// One order for each account: three lines, one each of products that lie apart, so that neighbours in time
// share some products and not others, in whatever order.

import { SharedArray } from "k6/data";
import { post, turn } from "./measure.js";
export { handleSummary, options } from "./measure.js";

const products = new SharedArray("products", () => JSON.parse(open(__ENV.PRODUCTS)));
const LINES = 3;

export default function () {
  const first = Math.floor(Math.random() * products.length);
  // A third of the range apart: never the same product twice.
  const step = Math.floor(products.length / LINES);
  const items = [];
  for (let line = 0; line < LINES; line++) {
    items.push({ product: products[(first + line * step) % products.length], quantity: 1 });
  }
  post("/orders", { items }, 201, { "Idempotency-Key": `bench-${turn()}` });
}
