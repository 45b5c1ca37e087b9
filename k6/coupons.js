// One coupon for each account, all of one campaign: every request wants the same row.

import { post } from "./measure.js";
export { handleSummary, options } from "./measure.js";

export default function () {
  post("/coupons", { campaign: Number(__ENV.CAMPAIGN) }, 201);
}
