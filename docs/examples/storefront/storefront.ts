/** A storefront: signs in, waits for its turn, claims a coupon, and buys; after a reload it goes on. */
import {
  IntentTooOldError,
  NoAnswerError,
  NotSettledError,
  ProblemError,
  Shop,
  checked,
  type Schemas,
  type Tokens,
} from "firstcome-client";

type Coupon = Schemas["CouponBody"];
type Product = Schemas["ProductBody"];
type Sale = Schemas["SaleBody"];
/** An order under way, and what it is of. */
type Purchase = { name: string; body: Schemas["PlaceOrderInput"] };

const url = document.querySelector<HTMLMetaElement>("meta[name=shop]")!.content;
/** In this tab: who is signed in, and the order under way. The client keeps the order's key there, under `intent`. */
const kept = sessionStorage;
const intent = "purchase.key";
const SHOWN_ORDERS = 3;
const WORDS: Record<string, string> = {
  insufficient_stock: "Sold out: somebody else was faster. Nothing was charged.",
  payment_declined: "The card was refused. Nothing was charged; you may try another one.",
  total_changed: "The price has changed: buy again if you like the new one. Nothing was charged.",
  coupon_not_usable: "This coupon can't be used for this order. Nothing was charged.",
  admission_required: "It is not your turn any more: join the waiting room again. Nothing was charged.",
  sold_out: "All coupons of this campaign are gone.",
  not_eligible: "This campaign is for other customers.",
  invalid_credentials: "The name or the password is wrong.",
};
const admitted = new Set<number>();
let usable: Coupon[] = [];
let shop = new Shop(url, { storage: kept });

function element<T extends HTMLElement>(id: string): T {
  return document.getElementById(id) as T;
}

function say(text: string, { isBad = false } = {}): void {
  element("status").textContent = text;
  element("status").classList.toggle("bad", isBad);
  element("next").hidden = true;
}

/** What the reader may do next, below what was said. */
function offer(action: HTMLElement): void {
  action.classList.add("action");
  element("next").replaceChildren(action);
  element("next").hidden = false;
}

function button(text: string, act: () => Promise<void>): HTMLButtonElement {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = text;
  made.onclick = () => alone(act);
  return made;
}

/** One thing at a time: no button is pressed twice, and what goes wrong is said. */
async function alone(act: () => Promise<void>): Promise<void> {
  const pressed = document.activeElement;
  document.querySelectorAll("fieldset").forEach((field) => (field.disabled = true));
  try {
    await act();
  } catch (error) {
    if (error instanceof ProblemError && error.status === 401) dropTokens();
    say(inWords(error), { isBad: true });
  } finally {
    document.querySelectorAll("fieldset").forEach((field) => (field.disabled = false));
    // The button that was pressed may be gone: the keyboard goes on at what was said.
    if (pressed !== document.body && document.activeElement === document.body) element("status").focus();
  }
}

function inWords(error: unknown): string {
  if (error instanceof ProblemError) return WORDS[error.code] ?? error.detail;
  if (error instanceof NoAnswerError) return "The shop does not answer. Try again in a moment.";
  if (error instanceof NotSettledError) return "This takes longer than usual. Try again in a moment.";
  reportError(error);
  return "Something went wrong. Load this page again.";
}

function money(amount: number, currency: string): string {
  const format = new Intl.NumberFormat(undefined, { style: "currency", currency });
  return format.format(amount / 10 ** format.resolvedOptions().maximumFractionDigits!);
}

async function all<T>(rows: AsyncIterable<T>): Promise<T[]> {
  const found = [];
  for await (const row of rows) found.push(row);
  return found;
}

// Signing in

async function signIn(): Promise<void> {
  const username = element<HTMLInputElement>("username").value;
  const password = element<HTMLInputElement>("password").value;
  const tokens = await checked(new Shop(url).api.POST("/api/v1/auth/token", { body: { username, password } }));
  element<HTMLInputElement>("password").value = "";
  if (kept.getItem("username") !== username) kept.clear();
  kept.setItem("username", username);
  keepTokens(tokens);
  await begin();
}

function keepTokens({ access, refresh }: Tokens): void {
  kept.setItem("tokens", JSON.stringify({ access, refresh }));
}

/** A purchase under way is kept: it goes on when the same account signs in again. */
function dropTokens(): void {
  kept.removeItem("tokens");
  shop = new Shop(url, { storage: kept });
  admitted.clear();
  show();
}

async function signOut(): Promise<void> {
  const tokens: Tokens = JSON.parse(kept.getItem("tokens")!);
  dropTokens();
  say("Signing out…");
  const left = new Shop(url, { credentials: tokens, retries: { attempts: 2, seconds: 5 } });
  try {
    await left.api.POST("/api/v1/auth/logout", { body: { refresh: tokens.refresh } });
  } catch (error) {
    // Without an answer the tokens are good until they expire, and nobody has them.
    console.warn(error);
  }
  // Ends what still waits for the shop.
  location.reload();
}

function show(): void {
  const isSignedIn = kept.getItem("tokens") !== null;
  element("sign-in").hidden = isSignedIn;
  element("account").hidden = element("shop").hidden = !isSignedIn;
  element("name").textContent = kept.getItem("username");
}

/** The page is loaded, or somebody has signed in: go on with what this tab was about. */
async function begin(): Promise<void> {
  show();
  const tokens = kept.getItem("tokens");
  if (!tokens) return say("Sign in to see what there is.");
  const made: Shop = new Shop(url, {
    // Calls that end after a sign-out keep nothing.
    credentials: { ...JSON.parse(tokens), onChange: (pair) => shop === made && keepTokens(pair) },
    storage: kept,
  });
  shop = made;
  // Without its key an order was not sent, or it was refused.
  if (!kept.getItem(intent)) kept.removeItem("purchase");
  await showShop();
  if (kept.getItem("purchase")) await purchase();
  else say("Choose what you like.");
}

// What there is

async function showShop(): Promise<void> {
  const [campaigns, coupons, products, sales] = await Promise.all([
    all(shop.campaigns()),
    all(shop.coupons()),
    all(shop.products()),
    all(shop.each(shop.api.GET("/api/v1/sales"))),
  ]);
  const claimed = new Set(coupons.map(({ campaign }) => campaign));
  usable = coupons.filter(({ status }) => status === "issued");
  const open = campaigns.filter(({ status }) => status === "open");
  element("campaigns").replaceChildren(
    ...open.map(({ id, name, remaining }) => {
      const left = remaining === null ? "for everybody" : `${remaining} left`;
      if (claimed.has(id)) return row(name, "You have claimed this coupon");
      return remaining === 0 ? row(name, "All are gone") : row(name, left, button("Claim", () => claim(id)));
    }),
  );
  element("coupon").replaceChildren(
    new Option("No coupon", ""),
    ...usable.map(({ code, discount, currency }) => {
      const worth = discount.type === "percent" ? `${discount.value} %` : money(discount.value, currency);
      return new Option(`${worth} off (${code})`, code);
    }),
  );
  element<HTMLSelectElement>("coupon").selectedIndex = usable.length && 1;
  element("products").replaceChildren(
    ...products.map((product) => {
      const sale = sales.find(({ status, products }) => status !== "closed" && products.includes(product.id));
      const price = money(product.price, product.currency);
      if (product.available === 0) return row(product.name, `${price}, sold out`);
      return row(product.name, `${price}, ${product.available} left`, next(product, sale));
    }),
  );
}

function row(name: string, text: string, act?: HTMLButtonElement): HTMLLIElement {
  const made = document.createElement("li");
  const words = document.createElement("span");
  const small = document.createElement("small");
  small.textContent = text;
  words.append(name, small);
  made.append(words);
  if (act) {
    act.setAttribute("aria-label", `${act.textContent}: ${name}`);
    made.append(act);
  }
  return made;
}

function next(product: Product, sale?: Sale): HTMLButtonElement {
  if (sale?.admission === "queue" && !admitted.has(sale.id)) return button("Wait for my turn", () => wait(sale));
  return button("Buy", () => buy(product));
}

// The waiting room, coupons and purchases

/** Again after a reload: an account has one place. */
async function wait(sale: Sale): Promise<void> {
  const path = { sale_id: sale.id };
  let entry = await checked(shop.api.POST("/api/v1/sales/{sale_id}/entries", { params: { path }, body: {} }));
  while (entry.status === "waiting") {
    say(`You are in the waiting room of ${sale.name}: ${entry.ahead ?? "some"} ahead of you. Keep this page open.`);
    try {
      entry = await shop.waitForEntry(entry.id, 5);
    } catch (error) {
      if (!(error instanceof NotSettledError)) throw error;
      entry = error.body as Schemas["SaleEntryBody"];
    }
  }
  if (entry.status === "admitted") admitted.add(sale.id);
  await showShop();
  if (entry.status !== "admitted") return say(`${sale.name} is over: everything is sold.`, { isBad: true });
  say(`It is your turn in ${sale.name}: buy until ${new Date(entry.admitted_until!).toLocaleTimeString()}.`);
}

async function claim(campaign: number): Promise<void> {
  say("Claiming the coupon…");
  const { code } = await shop.claimCoupon(campaign);
  await showShop();
  say(`The coupon ${code} is yours, and chosen for your next order.`);
}

async function buy(product: Product): Promise<void> {
  // One order at a time: the key of the one under way is not good for another.
  if (kept.getItem("purchase")) return purchase();
  const coupon = usable.find(({ code }) => code === element<HTMLSelectElement>("coupon").value);
  const token = element<HTMLSelectElement>("card").value;
  const body: Purchase["body"] = {
    items: [{ product: product.id, quantity: 1 }],
    coupon: coupon?.code,
    payment: { token },
    expected_total_amount: total(product, coupon),
  };
  // Before the call: a reload repeats it, by the same key, and it has one effect.
  kept.setItem("purchase", JSON.stringify({ name: product.name, body } satisfies Purchase));
  await purchase();
}

/** By what is shown; the shop refuses an order of another total. */
function total({ price }: Product, coupon?: Coupon): number {
  if (!coupon) return price;
  const { type, value, max_discount_amount: most } = coupon.discount;
  const discount = type === "percent" ? Math.floor((price * value) / 100) : value;
  return price - Math.min(discount, most ?? discount, price);
}

/** Place the order that is kept, or go on with it. */
async function purchase(): Promise<void> {
  const { name, body }: Purchase = JSON.parse(kept.getItem("purchase")!);
  say(`Buying ${name}… If you reload this page, it goes on with this order.`);
  let order: Schemas["OrderBody"];
  try {
    order = await placed(body);
  } catch (error) {
    if (error instanceof ProblemError && error.status === 401) throw error;
    // The shop has forgotten the key, or knows it of another order.
    if (error instanceof IntentTooOldError) return showOrders(name);
    if (error instanceof ProblemError && error.code === "idempotency_key_reused") return showOrders(name);
    // The client forgets the key of an order that was refused for good.
    if (error instanceof ProblemError && kept.getItem(intent) === null) {
      forgetPurchase();
      await showShop();
      throw error;
    }
    say(inWords(error), { isBad: true });
    return offer(button(`Go on with my order of ${name}`, purchase));
  }
  const amount = money(order.total_amount, order.currency);
  if (order.status === "paid") say(`Paid: order ${order.number}, ${amount}. Thank you!`);
  else say("The payment did not go through. Nothing was charged.", { isBad: true });
  // After the buyer was told: a reload before that asks again.
  forgetPurchase();
  await showShop();
}

/** The order, once its payment has ended. */
async function placed(body: Purchase["body"]): Promise<Schemas["OrderBody"]> {
  for (;;) {
    const order = await shop.placeOrder(body, { intent });
    const action = order.payment?.next_action;
    if (!action) return order;
    // Not one that would run as a script of this page.
    if (!/^https?:/.test(action.url)) throw new TypeError(`this is no page of a bank: ${action.url}`);
    const link = document.createElement("a");
    link.href = action.url;
    link.textContent = "Confirm at your bank";
    say("Your bank asks whether it is you.");
    offer(link);
    // The bank's page leads back here. Until then, and if it is open in another tab, look.
    await shop.waitForOrder(order.id, 900);
  }
}

/** It is not known whether the order was placed, and sending it again could buy twice: the buyer looks. */
async function showOrders(name: string): Promise<void> {
  const newest = [];
  for await (const order of shop.orders()) if (newest.push(order) === SHOWN_ORDERS) break;
  const lines = newest.map(({ placed_at, items, status, total_amount, currency }) => {
    const names = items.map((item) => item.name).join(", ");
    return `${new Date(placed_at).toLocaleString()}: ${names}, ${money(total_amount, currency)}, ${status}.`;
  });
  const orders = lines.length ? `Your newest orders: ${lines.join(" ")}` : "You have no orders.";
  say(`Your order of ${name} may have been placed, so it is not sent again. ${orders}`, { isBad: true });
  offer(
    button("I have looked: choose anew", async () => {
      forgetPurchase();
      await showShop();
      say("Choose what you like.");
    }),
  );
}

function forgetPurchase(): void {
  // An order uses its account's turn.
  admitted.clear();
  kept.removeItem("purchase");
  shop.forget(intent);
}

element("sign-in").onsubmit = (event) => {
  event.preventDefault();
  void alone(signIn);
};
element("sign-out").onclick = () => alone(signOut);
void alone(begin);
