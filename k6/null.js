// The ceiling: sign-in, throttles, parser and renderer of a coupon, with nothing done in between.

import { asking } from "./measure.js";
export { handleSummary, options } from "./measure.js";

const ask = asking("/lab/null", 200);
const body = JSON.stringify({ campaign: Number(__ENV.CAMPAIGN) });

export default function () {
  ask(body);
}
