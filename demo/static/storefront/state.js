// Everything the page shows, and the one function that has it drawn again.

export const state = {
  route: { name: "home", id: "" },
  // {id, username}; null for none, undefined until the shop has said whose tokens this tab has. `isSignedOut`
  // says that a sign-in has lapsed.
  account: undefined,
  isSignedOut: false,
  wallet: null,
  coupons: [],
  orders: [],
  // Null until they were read for the first time.
  products: null,
  campaigns: null,
  sales: null,
  // The shop has not answered the last reading.
  isStale: false,
  // By campaign: {phase: "asking" | "waiting" | "issued" | "refused", …}.
  claims: {},
  // By sale: {entry, phase: "asking" | "following" | "refused", …}.
  entries: {},
  signIn: { phase: "idle", message: "" },
  form: null,
  // What becomes of the purchase under way; see purchase.js.
  purchase: null,
  // Paying with another card: {phase: "asking" | "busy" | "refused", …}; see second_card.js.
  secondCard: null,
  receipt: null,
  announcement: "",
};

let draw = () => {};
let isDue = false;

export function setDraw(drawing) {
  draw = drawing;
}

// Change the state, and draw the page once before the next frame. A hidden page has no frames.
export function update(changes = {}) {
  Object.assign(state, changes);
  if (isDue) return;
  isDue = true;
  const redraw = () => {
    isDue = false;
    draw();
  };
  if (document.hidden) setTimeout(redraw);
  else requestAnimationFrame(redraw);
}

// Have screen readers say it.
export const announce = (announcement) => update({ announcement });

export const productOf = (id) => state.products?.find((product) => product.id === id);

// The sale that the product is in: it can be ordered by the rules of that one alone. Sales that are over keep
// their products until another sale has them.
export function saleOf(productId) {
  const found = state.sales?.filter((sale) => sale.products.includes(productId)) ?? [];
  return found.find((sale) => sale.status !== "closed") ?? found[0];
}
