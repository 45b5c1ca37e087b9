// Small parts that several pages show.

import { html, nothing } from "../lit-html/lit-html.js";
import { countdown, money, number, secondsUntil } from "../format.js";
import { text } from "../options.js";

// A label with a colour, and the same in words.
export const badge = (kind, label) => html`<span class="badge ${kind}">${label}</span>`;

// The time left. It is not announced each second: what it leads to is.
export const timeLeft = (at) =>
  html`<time class="countdown" datetime=${at} role="timer">${countdown(secondsUntil(at))}</time>`;

export const problem = (message) => (message ? html`<p class="problem" role="alert">${message}</p>` : nothing);

export const loading = () => html`<p class="quiet" aria-busy="true">${text("loading")}</p>`;

// What is left of a product.
export function availability(product) {
  if (product.availability === "sold_out") return badge("over", text("sold_out"));
  if (product.availability === "reserved") return badge("wait", text("product.reserved"));
  return badge("good", text("product.left", { count: number(product.available) }));
}

// A line of a list of amounts.
export const amount = (name, value) => html`<div><dt>${text(name)}</dt><dd>${money(value)}</dd></div>`;
