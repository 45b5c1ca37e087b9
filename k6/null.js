// The ceiling: sign-in, throttles, parser and renderer of a coupon, with nothing done in between.

import { post } from "./measure.js";
export { handleSummary, options } from "./measure.js";

export default function () {
  post("/lab/null", { campaign: Number(__ENV.CAMPAIGN) }, 200);
}
