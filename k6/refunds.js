// A refund of all that is left of each order of ORDERS, by the member of staff whom TOKENS has once for each. RUN makes
// the keys unique to this run.

import { SharedArray } from "k6/data";
import { RUN, asking, turn } from "./measure.js";
export { options } from "./measure.js";

const orders = new SharedArray("orders", () => JSON.parse(open(__ENV.ORDERS)));
const ask = asking((number) => `/orders/${orders[number]}/refunds`, 202);

export default function () {
  ask(JSON.stringify({ reason: "Recalled" }), { "Idempotency-Key": `${RUN}-${turn()}` });
}
