// Each account joins the waiting room of the sale SALE.

import { asking } from "./measure.js";
export { options } from "./measure.js";

const ask = asking(`/sales/${__ENV.SALE}/entries`, 202);

export default function () {
  ask(null);
}
