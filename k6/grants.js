// Points granted by staff to one account after the other. USERS is a file of their ids; RUN makes the keys unique
// to this run.

import { SharedArray } from "k6/data";
import { asking, turn } from "./measure.js";
export { handleSummary, options } from "./measure.js";

const ids = new SharedArray("ids", () => JSON.parse(open(__ENV.USERS)));
const ask = asking("/wallet/grants", 201);

export default function () {
  const number = turn();
  const grant = { user: ids[number % ids.length], amount: 1, reason: "bench" };
  ask(JSON.stringify(grant), { "Idempotency-Key": `${__ENV.RUN}-${number}` });
}
