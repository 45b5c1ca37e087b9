// The upper bound: authentication, throttles, parsing and rendering of a coupon request, without issuing it.

import { asking } from "./measure.js";
export { options } from "./measure.js";

const ask = asking("/lab/null", 200);
const body = JSON.stringify({ campaign: 1 });

export default function () {
  ask(body);
}
