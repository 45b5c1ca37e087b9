// A sale with its products, and the waiting room before it: place, time, and what the draw is.

import { html, nothing } from "../lit-html/lit-html.js";
import { estimate, instant, number } from "../format.js";
import { options, text } from "../options.js";
import { askToSignIn } from "../session.js";
import { state } from "../state.js";
import { enter } from "../waiting_room.js";
import { badge, problem, timeLeft } from "./elements.js";

const KINDS = { scheduled: "wait", open: "good", paused: "wait", closed: "over" };

export const saleSection = (sale, products) => html`
  <section class="sale" aria-labelledby="sale-${sale.id}" data-sale=${sale.id}>
    <h2 id="sale-${sale.id}">${sale.name} ${badge(KINDS[sale.status], text(`sale.${sale.status}`))}</h2>
    ${sale.admission === "queue" ? room(sale) : opening(sale)} ${products}
  </section>
`;

const opening = (sale) =>
  sale.status === "scheduled"
    ? html`<p class="card">${text("opens_in")} ${timeLeft(sale.opens_at)}</p>`
    : nothing;

// The waiting room of a sale with `admission: queue`.
export function room(sale) {
  const found = state.entries[sale.id] ?? { phase: "idle" };
  const status = found.entry?.status;
  return html`
    <div class="card room" data-status=${status ?? "none"}>
      <div class="place">${status ? places[status](found.entry, sale) : welcome(sale)}</div>
      ${found.isStale ? html`<p class="quiet">${text("room.stale")}</p>` : nothing}
      ${found.phase === "refused" ? problem(found.message) : nothing} ${entrance(sale, found)} ${draw(sale, found.entry)}
    </div>
  `;
}

const welcome = (sale) => html`
  <h3>${text("room.none.title")}</h3>
  <p>${text(sale.status === "scheduled" ? "room.none.before" : "room.none.open")}</p>
  ${untilOpening(sale)}
`;

const untilOpening = (sale) =>
  sale.status === "scheduled"
    ? html`<p class="big">${timeLeft(sale.opens_at)}</p>
        <p class="quiet">${text("room.opens", { time: instant(sale.opens_at) })}</p>`
    : nothing;

const places = {
  waiting: (entry, sale) =>
    entry.ahead === null
      ? html`<h3>${text("room.waiting.title")}</h3>
          <p>${text("room.waiting.draw")}</p>
          ${untilOpening(sale)}`
      : html`<h3>${text("room.waiting.title")}</h3>
          <p class="big">${text("room.ahead", { count: number(entry.ahead) })}</p>
          <p class="quiet">
            ${entry.estimated_wait_seconds === null ? nothing : text("room.wait", { time: estimate(entry.estimated_wait_seconds) })}
            ${sale.status === "paused" ? text("room.paused") : nothing}
          </p>`,
  admitted: (entry, sale) => html`
    <h3>${text("room.admitted.title")}</h3>
    <p>${text("room.admitted.about")}</p>
    ${entry.admitted_until ? html`<p class="big">${timeLeft(entry.admitted_until)}</p>` : nothing}
    ${sale.status === "paused" ? html`<p class="quiet">${text("room.paused")}</p>` : nothing}
  `,
  used: () => html`<h3>${text("room.used.title")}</h3><p>${text("room.used.about")}</p>`,
  expired: () => html`<h3>${text("room.expired.title")}</h3><p>${text("room.expired.about")}</p>`,
  over: () => html`<h3>${text("room.over.title")}</h3><p>${text("room.over.about")}</p>`,
};

function entrance(sale, { phase, entry }) {
  if (phase === "following" || entry?.status === "over" || sale.status === "closed") return nothing;
  const label = text(entry ? "room.enter.again" : "room.enter");
  return html`<button
    type="button"
    class=${entry?.status === "used" ? "" : "primary"}
    ?disabled=${phase === "asking"}
    @click=${() => (state.account ? enter(sale.id) : askToSignIn())}
  >
    ${label}
  </button>`;
}

const draw = (sale, entry) => html`
  <details>
    <summary>${text("draw")}</summary>
    <p>${text("draw.about")}</p>
    ${entry ? html`<p>${text("draw.entry")} <code>${entry.id}</code></p>` : nothing}
    <p><a href="${options.api}/sales/${sale.id}/draw">${text("draw.figures")}</a></p>
  </details>
`;
