// One coupon for each account, all of one campaign: every request wants the same row. EXPECTED is the status
// of the answer that is due: 201 for a new coupon, 200 for the same one again, 409 once there are none left.

import { asking } from "./measure.js";
export { handleSummary, options } from "./measure.js";

const ask = asking("/coupons", Number(__ENV.EXPECTED || 201));
const body = JSON.stringify({ campaign: Number(__ENV.CAMPAIGN) });

export default function () {
  ask(body);
}
