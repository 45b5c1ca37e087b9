// The same page of a list again and again: LIST is its path.

import { asking } from "./measure.js";
export { handleSummary, options } from "./measure.js";

const ask = asking(__ENV.LIST, 200, { method: "GET" });

export default function () {
  ask(null);
}
