// Each account reads its own entry of a waiting room, again and again; ENTRIES is a file with their ids, in the order
// of the accounts.

import { SharedArray } from "k6/data";
import { asking } from "./measure.js";
export { options } from "./measure.js";

const entries = new SharedArray("entries", () => JSON.parse(open(__ENV.ENTRIES)));
const ask = asking((account) => `/sale-entries/${entries[account % entries.length]}`, 200, { method: "GET" });

export default function () {
  ask(null);
}
