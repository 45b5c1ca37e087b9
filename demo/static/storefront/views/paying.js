// What is left to do for the buyer of an order: to confirm its payment at the bank, or to choose another card.

import { html, nothing } from "../lit-html/lit-html.js";
import { options, text } from "../options.js";
import { refusalText } from "../refusals.js";
import { needsCard, payWith } from "../second_card.js";
import { state } from "../state.js";
import { problem, timeLeft } from "./elements.js";

export function toDo(order) {
  const action = order.payment?.next_action;
  if (action) return confirmation(action);
  return needsCard(order) ? anotherCard(order) : nothing;
}

const confirmation = ({ url, expires_at }) => html`
  <p class="note" id="to-confirm">
    ${text("action.about")} ${timeLeft(expires_at)}
    <a class="button primary" id="confirm" href=${url} rel="noreferrer">${text("action.confirm")}</a>
  </p>
`;

function anotherCard(order) {
  const { phase, answer } = state.secondCard ?? {};
  return html`
    <form class="note" id="another-card" @submit=${(event) => submit(event, order)}>
      <p>${text("another_card.about")} ${timeLeft(order.expires_at)}</p>
      <p class="field">
        <label for="second-card">${text("card")}</label>
        <select id="second-card">
          ${options.cards.map((token) => html`<option value=${token}>${token} ${text(`card.${token}`)}</option>`)}
        </select>
      </p>
      ${phase === "refused" ? problem(refusalText(answer)) : nothing}
      ${phase === "busy" ? problem(text("offline")) : nothing}
      <button class="primary" id="pay-again" ?disabled=${phase === "asking"}>${text("another_card.pay")}</button>
    </form>
  `;
}

function submit(event, order) {
  event.preventDefault();
  payWith(order, event.target.querySelector("select").value);
}
