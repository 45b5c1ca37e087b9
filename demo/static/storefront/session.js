// Signing in and out, and what the page then shows of the account.

import { call, NoAnswer, passes, tokens } from "./api.js";
import { text } from "./options.js";
import { hasPending, settle } from "./purchase.js";
import { refusalText } from "./refusals.js";
import { goTo, readRoute } from "./routes.js";
import { announce, state, update } from "./state.js";
import { forgetEntries, resumeEntries } from "./waiting_room.js";

const NEWEST_ORDERS = 5;
let next = "";

// Show the sign-in, and come back to this page afterwards.
export function askToSignIn() {
  next = location.hash;
  goTo("#/sign-in");
}

export async function signIn(username, password) {
  if (state.signIn.phase === "asking") return;
  update({ signIn: { phase: "asking", message: "" } });
  const body = { username, password };
  try {
    const answer = await call("POST", "/auth/token", { body, isPublic: true });
    if (answer.status !== 200) {
      update({ signIn: { phase: "idle", message: refusalText(answer) } });
      return;
    }
    tokens.keep(answer.body);
    update({ signIn: { phase: "idle", message: "" } });
    await resume();
    // Who has opened another page meanwhile stays there.
    if (state.account && readRoute().name === "sign_in") goTo(next || "#/");
    next = "";
  } catch (error) {
    if (!(error instanceof NoAnswer)) throw error;
    update({ signIn: { phase: "idle", message: text("offline") } });
  }
}

// Go on as the account of this tab's tokens, if it has some: with its purchase and its waiting rooms, too.
// Raises `NoAnswer`.
export async function resume() {
  const answer = tokens.read() ? await call("GET", "/users/me") : null;
  if (answer && passes(answer)) throw new NoAnswer("GET /users/me");
  if (answer?.status !== 200) {
    update({ account: null });
    return;
  }
  update({ account: answer.body, isSignedOut: false });
  resumeEntries();
  settle();
  await refreshAccount();
}

// The wallet, the coupons and the newest orders, as they are now.
export async function refreshAccount() {
  const { account } = state;
  if (!account) return;
  const read = (path) => call("GET", path).then((answer) => (answer.status === 200 ? answer.body : null));
  const [wallet, coupons, orders] = await Promise.all([
    read("/wallet"),
    read("/coupons?limit=50"),
    read(`/orders?limit=${NEWEST_ORDERS}`),
  ]);
  // Another account may have signed in meanwhile.
  if (state.account?.id !== account.id) return;
  update({
    wallet: wallet ?? state.wallet,
    coupons: coupons?.results ?? state.coupons,
    orders: orders?.results ?? state.orders,
  });
}

// The tokens are gone from this tab at once, and the shop refuses the refresh token from then on. A purchase
// that has no answer yet is kept for the account.
export async function signOut() {
  const refresh = tokens.read()?.refresh;
  const goodbye = hasPending() ? "signed_out.pending" : "signed_out";
  const end = refresh ? call("POST", "/auth/logout", { body: { refresh } }) : Promise.resolve();
  tokens.forget();
  forgetEntries();
  update({ account: null, isSignedOut: false, wallet: null, coupons: [], orders: [], claims: {}, form: null });
  announce(text(goodbye));
  goTo("#/");
  await end.catch((error) => {
    if (!(error instanceof NoAnswer)) throw error;
  });
}
