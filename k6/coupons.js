// One coupon for each account, all of one campaign: every request needs the same row. EXPECTED is the status
// of the expected answer: 201 for a new coupon, 200 for an existing one, 409 for a campaign that is sold out.

import { asking } from "./measure.js";
export { options } from "./measure.js";

const ask = asking("/coupons", Number(__ENV.EXPECTED || 201));
const body = JSON.stringify({ campaign: Number(__ENV.CAMPAIGN) });

export default function () {
  ask(body);
}
