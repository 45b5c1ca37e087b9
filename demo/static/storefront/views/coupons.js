// Campaigns: what is left of each, and the account's coupon of it.

import { html, nothing } from "../lit-html/lit-html.js";
import { claim } from "../claims.js";
import { money, number, percent } from "../format.js";
import { text } from "../options.js";
import { refusalText } from "../refusals.js";
import { askToSignIn } from "../session.js";
import { state } from "../state.js";
import { badge, problem, timeLeft } from "./elements.js";

export function campaignCards() {
  const shown = state.campaigns.filter((campaign) => campaign.status !== "closed");
  if (!shown.length) return html`<p class="quiet">${text("coupons.none")}</p>`;
  return html`<ul class="cards">${shown.map(campaignCard)}</ul>`;
}

function campaignCard(campaign) {
  return html`
    <li class="card campaign" data-campaign=${campaign.id} data-status=${campaign.status}>
      <h3>${campaign.name}</h3>
      <p>${discountText(campaign.discount)}</p>
      <p class="left">${left(campaign)}</p>
      <div class="action">${action(campaign)}</div>
    </li>
  `;
}

// `3,000 won off, from 10,000 won on`.
export function discountText({ type, value, min_order_amount, max_discount_amount }) {
  const from = min_order_amount ? text("discount.from", { amount: money(min_order_amount) }) : "";
  const most = max_discount_amount ? text("discount.most", { amount: money(max_discount_amount) }) : "";
  const off = text("discount", { amount: type === "amount" ? money(value) : percent(value) });
  return [off, most, from].filter(Boolean).join(", ");
}

function left(campaign) {
  if (campaign.status === "sold_out") return badge("over", text("sold_out"));
  if (campaign.status === "paused") return badge("wait", text("paused"));
  if (campaign.status === "awaiting_codes") return badge("wait", text("coupons.awaiting_codes"));
  if (campaign.status === "scheduled") return html`${text("opens_in")} ${timeLeft(campaign.opens_at)}`;
  if (campaign.quantity === null) return badge("good", text("coupons.everybody"));
  return badge(
    "good",
    text("coupons.left", { count: number(campaign.remaining), total: number(campaign.issued + campaign.remaining) }),
  );
}

function action(campaign) {
  const own = state.coupons.find((coupon) => coupon.campaign === campaign.id);
  if (own) {
    return html`<p class="own">${text("coupon.own")} <code>${own.code}</code> ${badge(own.status, text(`coupon.${own.status}`))}</p>`;
  }
  const { phase, ahead, answer } = state.claims[campaign.id] ?? {};
  if (phase === "waiting") return html`<p role="status">${text("coupon.waiting", { ahead: number(ahead) })}</p>`;
  if (campaign.status !== "open") return nothing;
  const isSoldOut = phase === "sold_out";
  return html`
    ${isSoldOut ? badge("over", text("sold_out")) : nothing}
    ${phase === "refused" ? problem(answer ? refusalText(answer) : text("offline")) : nothing}
    ${isSoldOut
      ? nothing
      : html`<button
          type="button"
          ?disabled=${phase === "asking"}
          aria-label=${text("coupon.claim.of", { name: campaign.name })}
          @click=${() => (state.account ? claim(campaign) : askToSignIn())}
        >
          ${text(phase === "asking" ? "coupon.asking" : "coupon.claim")}
        </button>`}
  `;
}
