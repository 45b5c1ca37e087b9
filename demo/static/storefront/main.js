// The demo storefront: draws the page that the address names, and draws it again when something has changed.

import { NoAnswer } from "./api.js";
import { readNow, watch } from "./catalogue.js";
import { render } from "./lit-html/lit-html.js";
import { options } from "./options.js";
import { leaveReceipt, watchOrder } from "./receipt.js";
import { readRoute } from "./routes.js";
import { resume } from "./session.js";
import { setDraw, state, update } from "./state.js";
import { pause } from "./pacing.js";
import { buyPage } from "./views/buy.js";
import { frame } from "./views/frame.js";
import { homePage } from "./views/home.js";
import { orderPage } from "./views/order.js";
import { signInPage } from "./views/sign_in.js";

const PAGES = { home: homePage, buy: buyPage, order: orderPage, sign_in: signInPage };
const AGAIN_SECONDS = 3;
const root = document.getElementById("app");
const announced = document.getElementById("announced");

function draw() {
  const { route } = state;
  render(frame(PAGES[route.name](route.id)), root);
  // Set only when it changes, because screen readers say it.
  if (announced.textContent !== state.announcement) announced.textContent = state.announcement;
}

// Screen readers go on at the heading of the page that is shown.
function changeRoute() {
  showRoute();
  root.querySelector("h1").focus({ preventScroll: true });
  scrollTo(0, 0);
}

function showRoute() {
  const route = readRoute();
  if (route.name === "order") watchOrder(route.id);
  else leaveReceipt();
  const purchase = state.purchase?.phase === "refused" ? null : state.purchase;
  update({ route, purchase });
  draw();
  document.title = `${root.querySelector("h1").textContent} · ${options.brand}`;
}

// Countdowns go on while the page is seen.
function tick() {
  if (!document.hidden && root.querySelector(".countdown")) draw();
}

// Until the shop says whose tokens this tab has.
async function resumeSoon() {
  for (;;) {
    try {
      await resume();
      return;
    } catch (error) {
      if (!(error instanceof NoAnswer)) throw error;
      await pause(AGAIN_SECONDS);
    }
  }
}

setDraw(draw);
addEventListener("hashchange", changeRoute);
addEventListener("online", readNow);
setInterval(tick, 1000);
showRoute();
resumeSoon();
watch();
