// The shop window: sales with their waiting rooms, coupons, products, and the account's newest orders.

import { html, nothing } from "../lit-html/lit-html.js";
import { instant, money, number } from "../format.js";
import { text } from "../options.js";
import { saleOf, state } from "../state.js";
import { campaignCards } from "./coupons.js";
import { availability, badge, loading, timeLeft } from "./elements.js";
import { saleSection } from "./waiting_room.js";

export function homePage() {
  const running = (state.sales ?? [])
    .filter((sale) => sale.status !== "closed")
    .sort((one, other) => one.opens_at.localeCompare(other.opens_at));
  const inSales = new Set(running.flatMap((sale) => sale.products));
  const others = state.products?.filter((product) => !inSales.has(product.id)) ?? [];
  return html`
    <h1 tabindex="-1">${text("home.title")}</h1>
    <p class="lead">${text("home.about")}</p>
    ${running.map((sale) => saleSection(sale, productCards(productsOf(sale))))}
    <section aria-labelledby="coupons-title">
      <h2 id="coupons-title">${text("coupons")}</h2>
      ${state.campaigns ? campaignCards() : loading()}
    </section>
    <section aria-labelledby="products-title">
      <h2 id="products-title">${text("products")}</h2>
      ${state.products ? productCards(others) : loading()}
      ${state.products && !others.length ? html`<p class="quiet">${text("products.none")}</p>` : nothing}
    </section>
    ${state.account ? orders() : nothing}
  `;
}

const productsOf = (sale) => state.products?.filter((product) => sale.products.includes(product.id)) ?? [];

const productCards = (products) => html`
  <ul class="cards products">
    ${products.map(productCard)}
  </ul>
`;

function productCard(product) {
  return html`
    <li class="card product" data-product=${product.id} data-availability=${product.availability}>
      <h3>${product.name}</h3>
      <p class="price">${money(product.price)}</p>
      <p class="left">${availability(product)}</p>
      ${product.limit_per_account
        ? html`<p class="quiet">${text("product.limit", { count: number(product.limit_per_account) })}</p>`
        : nothing}
      <p class="action">${link(product)}</p>
    </li>
  `;
}

function link(product) {
  if (product.availability === "sold_out") return nothing;
  const sale = saleOf(product.id);
  if (sale?.status === "closed") return html`<span class="quiet">${text("sale.over")}</span>`;
  if (sale?.status === "scheduled") return html`<span class="quiet">${text("opens_in")} ${timeLeft(sale.opens_at)}</span>`;
  return html`<a class="button" href="#/buy/${product.id}" aria-label=${text("buy.of", { name: product.name })}>${text("buy")}</a>`;
}

function orders() {
  return html`
    <section aria-labelledby="orders-title">
      <h2 id="orders-title">${text("orders")}</h2>
      ${state.orders.length ? nothing : html`<p class="quiet">${text("orders.none")}</p>`}
      <ul class="rows" id="orders">
        ${state.orders.map(
          (order) => html`
            <li>
              <a href="#/orders/${order.id}">${order.items.map((item) => `${number(item.quantity)} × ${item.name}`).join(", ")}</a>
              <span class="quiet">${instant(order.placed_at)}</span>
              <span>${money(order.total_amount)}</span>
              ${badge(order.status, text(`order.${order.status}`))}
            </li>
          `,
        )}
      </ul>
    </section>
  `;
}
