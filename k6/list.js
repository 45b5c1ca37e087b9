// The same page of a list in every request; LIST is its whole path.

import { asking } from "./measure.js";
export { options } from "./measure.js";

const ask = asking(__ENV.LIST, 200, { method: "GET", root: "" });

export default function () {
  ask(null);
}
