// What an order would cost, to show before it is placed. The order's own amounts decide.

export function preview(product, chosen, coupon) {
  const items = product.price * whole(chosen.quantity);
  const discount = coupon ? discountOf(coupon.discount, items) : 0;
  const total = items - discount;
  const points = Math.min(whole(chosen.points), total);
  return { items, discount, total, points, card: total - points };
}

// Percents are rounded down, as the shop does.
function discountOf({ type, value, min_order_amount, max_discount_amount }, items) {
  if (items < (min_order_amount ?? 0)) return 0;
  const wanted = type === "amount" ? value : Math.floor((items * value) / 100);
  return Math.min(wanted, max_discount_amount ?? wanted, items);
}

// What is typed into a field of numbers, 0 for what is none.
const whole = (typed) => Math.max(0, Math.floor(Number(typed)) || 0);
