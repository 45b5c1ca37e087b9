// What is around every page: the account, and notes that concern all of it.

import { html, nothing } from "../lit-html/lit-html.js";
import { money } from "../format.js";
import { options, text } from "../options.js";
import { tryNow } from "../purchase.js";
import { refusalText } from "../refusals.js";
import { signOut } from "../session.js";
import { state } from "../state.js";

export const frame = (page) => html`
  <a class="skip" href="#main" @click=${skip}>${text("skip")}</a>
  <header class="top">
    <p class="brand"><a href="#/">${options.brand}</a> ${text("demo")}</p>
    ${account()}
  </header>
  <div class="notes">${notes()}</div>
  <main id="main" tabindex="-1">${page}</main>
`;

// Without the address, which names the page.
function skip(event) {
  event.preventDefault();
  document.getElementById("main").focus();
}

function account() {
  if (state.account === undefined) return nothing;
  if (!state.account) return html`<p class="account"><a class="button" href="#/sign-in">${text("sign_in")}</a></p>`;
  const points = state.wallet ? text("account.points", { amount: money(state.wallet.balance_amount) }) : "";
  return html`
    <p class="account">
      <span class="who"><b id="account">${state.account.username}</b> <span class="quiet" id="points">${points}</span></span>
      <button type="button" id="sign-out" @click=${signOut}>${text("sign_out")}</button>
    </p>
  `;
}

function notes() {
  return html`
    ${state.isStale ? html`<p class="note bad">${text("stale")}</p>` : nothing}
    ${state.isSignedOut ? html`<p class="note bad">${text("signed_out.lapsed")}</p>` : nothing}
    ${purchase()}
  `;
}

// A purchase goes on whatever page is shown, and so does its note.
function purchase() {
  const { phase, answer } = state.purchase ?? {};
  if (phase === "asking") return html`<p class="note" role="status">${text("purchase.asking")}</p>`;
  if (phase !== "offline" && phase !== "busy") return nothing;
  const why = phase === "offline" ? text("purchase.offline") : `${refusalText(answer)} ${text("purchase.busy")}`;
  return html`
    <div class="note bad" role="alert" id="unanswered">
      <p>${why}</p>
      <button type="button" @click=${tryNow}>${text("try_now")}</button>
    </div>
  `;
}
