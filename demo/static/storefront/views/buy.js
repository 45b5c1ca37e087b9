// Buying one product: how many, with which coupon, how many points, by which card.

import { html, nothing } from "../lit-html/lit-html.js";
import { money } from "../format.js";
import { options, text } from "../options.js";
import { preview } from "../prices.js";
import { buy, hasPending } from "../purchase.js";
import { readNow } from "../catalogue.js";
import { refusalText } from "../refusals.js";
import { askToSignIn } from "../session.js";
import { productOf, saleOf, state, update } from "../state.js";
import { mayOrder } from "../waiting_room.js";
import { discountText } from "./coupons.js";
import { amount, availability, loading, problem, timeLeft } from "./elements.js";
import { room } from "./waiting_room.js";

const MOST_UNITS = 1000;

export function buyPage(id) {
  const product = productOf(Number(id));
  if (!product) return html`<h1 tabindex="-1">${text("buy")}</h1>${state.products ? missing() : loading()}`;
  return html`
    <h1 tabindex="-1">${text("buy.of", { name: product.name })}</h1>
    <p class="lead">${money(product.price)} ${availability(product)}</p>
    ${content(product)}
    <p><a href="#/">${text("back")}</a></p>
  `;
}

const missing = () => html`
  <p>${text("refused.product_not_found")}</p>
  <p><a href="#/">${text("back")}</a></p>
`;

function content(product) {
  const { purchase } = state;
  const refusal = purchase?.phase === "refused" ? problem(refusalText(purchase.answer)) : nothing;
  if (product.availability === "sold_out") return html`${refusal}<p class="card over">${text("sold_out.late")}</p>`;
  if (state.account === undefined) return loading();
  if (!state.account) {
    return html`<p class="card">
      ${text("buy.sign_in")} <button type="button" class="primary" @click=${askToSignIn}>${text("sign_in")}</button>
    </p>`;
  }
  const sale = saleOf(product.id);
  if (sale?.status === "closed") return html`<p class="card over">${text("refused.sale_closed")}</p>`;
  if (sale?.status === "scheduled" && sale.admission === "open") {
    return html`<p class="card">${text("opens_in")} ${timeLeft(sale.opens_at)}</p>`;
  }
  if (sale && !mayOrder(sale)) return html`${refusal}${room(sale)}`;
  return html`${sale?.admission === "queue" ? room(sale) : nothing} ${form(product, refusal)}`;
}

function form(product, refusal) {
  const chosen = formOf(product);
  const prices = preview(product, chosen, coupon(chosen));
  const most = Math.min(MOST_UNITS, product.limit_per_account ?? MOST_UNITS, Math.max(1, product.available));
  const isBusy = hasPending();
  return html`
    <form class="card columns" @submit=${(event) => submit(event, product)}>
      <div>
        <p class="field">
          <label for="quantity">${text("quantity")}</label>
          <input id="quantity" type="number" inputmode="numeric" required min="1" max=${most} .value=${chosen.quantity}
            @input=${set("quantity")} />
        </p>
        <p class="field">
          <label for="coupon">${text("coupon")}</label>
          <select id="coupon" @change=${set("coupon")}>
            <option value="">${text("coupon.none")}</option>
            ${usable().map(
              (one) => html`<option value=${one.code} ?selected=${one.code === chosen.coupon}>
                ${one.code}: ${discountText(one.discount)}
              </option>`,
            )}
          </select>
        </p>
        <p class="field">
          <label for="points-used">${text("points")}</label>
          <input id="points-used" type="number" inputmode="numeric" min="0" max=${mostPoints(prices)} aria-describedby="points-help"
            .value=${chosen.points} @input=${set("points")} />
          <span class="help" id="points-help">${text("points.help", { amount: money(state.wallet?.balance_amount ?? 0) })}</span>
        </p>
      </div>
      <fieldset class="cards-to-pay">
        <legend>${text("card")}</legend>
        <p class="help">${text("card.help")}</p>
        ${options.cards.map((token) => card(token, chosen))}
      </fieldset>
      <div class="total">
        <dl class="amounts">
          ${amount("amount.items", prices.items)} ${prices.discount ? amount("amount.discount", -prices.discount) : nothing}
          ${prices.points ? amount("amount.points", prices.points) : nothing} ${amount("amount.card", prices.card)}
        </dl>
        ${refusal}
        <button class="primary wide" id="buy" ?disabled=${isBusy}>${text(isBusy ? "buy.asking" : "buy.now")}</button>
      </div>
    </form>
  `;
}

const card = (token, chosen) => html`
  <label class="choice">
    <input type="radio" name="card" value=${token} .checked=${token === chosen.card} @change=${set("card")} />
    <span><code>${token}</code> <span class="quiet">${text(`card.${token}`)}</span></span>
  </label>
`;

const usable = () => state.coupons.filter((one) => one.status === "issued");

const coupon = (chosen) => usable().find((one) => one.code === chosen.coupon);

const mostPoints = (prices) => Math.min(state.wallet?.balance_amount ?? 0, prices.total);

// What is chosen is kept while the page is drawn again, and begins anew with another product.
function formOf(product) {
  if (state.form?.product !== product.id) {
    state.form = { product: product.id, quantity: "1", coupon: "", points: "0", card: options.cards[0] };
  }
  return state.form;
}

const set = (name) => (event) => {
  const { purchase } = state;
  update({
    form: { ...state.form, [name]: event.target.value },
    purchase: purchase?.phase === "refused" ? null : purchase,
  });
};

function submit(event, product) {
  event.preventDefault();
  const chosen = formOf(product);
  const { points, total } = preview(product, chosen, coupon(chosen));
  buy({
    items: [{ product: product.id, quantity: Number(chosen.quantity) }],
    ...(coupon(chosen) && { coupon: chosen.coupon }),
    ...(points && { points_amount: points }),
    payment: { token: chosen.card },
    keep_on_decline: true,
    expected_total_amount: total,
  });
  readNow();
}
