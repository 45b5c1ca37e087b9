// The receipt: what was bought and paid, or why not, and every step of it.

import { html, nothing } from "../lit-html/lit-html.js";
import { clockTime, grouped, instant, money, number } from "../format.js";
import { hasText, text } from "../options.js";
import { refusalText } from "../refusals.js";
import { state } from "../state.js";
import { amount, badge, loading, problem } from "./elements.js";
import { toDo } from "./paying.js";

export function orderPage() {
  const { order, timeline, isMissed, refused } = state.receipt ?? {};
  return html`
    <h1 tabindex="-1">${text(order?.status === "paid" ? "receipt" : "order")}</h1>
    ${isMissed ? html`<p class="note bad">${text("stale")}</p>` : nothing}
    ${refused ? problem(refusalText(refused)) : order ? receipt(order, timeline) : loading()}
    <p><a href="#/">${text("back")}</a></p>
  `;
}

const receipt = (order, timeline) => html`
  <article class="card receipt" data-status=${order.status} aria-labelledby="order-status">
    <p class="big" id="order-status" role="status">
      ${badge(order.status, text(`order.${order.status}`))}
      ${hasText(`order.${order.status}.about`) ? html`<span class="about">${text(`order.${order.status}.about`)}</span>` : nothing}
    </p>
    ${order.failure ? problem(order.failure.detail) : nothing} ${toDo(order)}
    <table>
      <thead>
        <tr>
          <th scope="col">${text("product")}</th>
          <th scope="col" class="number">${text("quantity")}</th>
          <th scope="col" class="number">${text("amount")}</th>
        </tr>
      </thead>
      <tbody>
        ${order.items.map(
          (item) => html`<tr>
            <th scope="row">${item.name}</th>
            <td class="number">${number(item.quantity)}</td>
            <td class="number">${money(item.line_amount)}</td>
          </tr>`,
        )}
      </tbody>
    </table>
    <dl class="amounts">
      ${order.discount_amount ? amount("amount.discount", -order.discount_amount) : nothing} ${amount("amount.total", order.total_amount)}
      ${order.points_amount ? amount("amount.points", order.points_amount) : nothing} ${amount("amount.card", order.card_amount)}
      ${order.refunded_amount ? amount("amount.refunded", order.refunded_amount) : nothing}
    </dl>
    <p class="quiet">
      ${text("order.number")} <code id="order-number">${grouped(order.number ?? order.id)}</code><br />
      ${text("order.placed", { time: instant(order.placed_at) })}
      ${order.coupon ? html`<br />${text("coupon")}: <code>${order.coupon}</code>` : nothing}
    </p>
  </article>
  <section aria-labelledby="timeline-title">
    <h2 id="timeline-title">${text("timeline")}</h2>
    <ol class="timeline" id="timeline">
      ${timeline.map(
        (line) => html`<li data-event=${line.event}>
          <time datetime=${line.at}>${clockTime(line.at)}</time>
          <span>${eventText(line.event)} <span class="quiet">${detailOf(line)}</span></span>
        </li>`,
      )}
    </ol>
  </section>
`;

// What a step that worked says of itself repeats its name, unless it has a number.
const detailOf = ({ event, detail }) => (event.endsWith(".done") && !/\d/.test(detail) ? "" : detail);

// Steps that the page has no sentence for are shown by their names.
const eventText = (event) => (hasText(`event.${event}`) ? text(`event.${event}`) : event.replaceAll(/[._]/g, " "));
