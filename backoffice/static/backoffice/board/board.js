// The launch board: figures are asked for every second, and go into tiles, cards and plots.

import { Actions } from "./actions.js";
import { Cards } from "./cards.js";
import { Connection } from "./connection.js";
import { byId, element, setHidden, setText } from "./elements.js";
import { count, duration, milliseconds, perSecond, rate } from "./format.js";
import { Plot } from "./plots.js";
import { Store } from "./store.js";
import { lawText, text, words } from "./texts.js";
import { Tiles } from "./tiles.js";

const options = JSON.parse(byId("options").textContent);
const [campaignPage, salePage, productPage] = options.pages;
const store = new Store(options.historyMinutes);
const actions = new Actions(options.base);
const tiles = new Tiles(byId("tiles"));
const ask = (action, kind, row, buttons) => actions.ask(action, kind, row, buttons);
const now = (action, kind, row) => actions.press(action, kind, row);
const pausing = (may) =>
  may
    ? [
        { action: "pause", label: text("pause"), isShown: (row) => !row.paused_at, press: now },
        { action: "resume", label: text("resume"), isShown: (row) => row.paused_at, press: now },
        { action: "explain", label: text("explain"), isShown: (row) => row.paused_at, press: ask },
      ]
    : [];
const raising = { action: "quantity", label: text("quantity"), isShown: (row) => row.quantity !== null && row.status !== "awaiting_codes", press: ask };
const campaigns = new Cards(byId("campaigns"), byId("campaigns-empty"), "campaign", [
  ...pausing(options.mayChangeCampaigns),
  ...(options.mayChangeCampaigns ? [raising] : []),
], campaignPage);
const sales = new Cards(byId("sales"), byId("sales-empty"), "sale", pausing(options.mayChangeSales), salePage);
const products = new Cards(byId("products"), byId("products-empty"), "product", pausing(options.mayChangeProducts), productPage);

const SHOP_PLOTS = [
  {
    title: text("plot.requests"),
    format: rate,
    series: [
      { name: "requests", label: text("series.answered"), colour: "blue", fill: true },
      { name: "refusals", label: text("series.refused"), colour: "orange" },
    ],
  },
  {
    title: text("plot.times"),
    format: milliseconds,
    series: [
      { name: "p95", label: "p95", colour: "orange" },
      { name: "p50", label: "p50", colour: "blue" },
      { name: "p95.coupons", label: text("series.coupons"), colour: "purple", dash: [8, 5] },
      { name: "p95.orders", label: text("series.orders"), colour: "green", dash: [3, 4] },
    ],
  },
  {
    title: text("plot.orders"),
    format: rate,
    series: [
      { name: "orders_a_second.placed", label: text("series.placed"), colour: "blue", fill: true },
      { name: "orders_a_second.paid", label: words("paid"), colour: "green" },
      { name: "orders_a_second.payment_failed", label: words("payment_failed"), colour: "red", dash: [8, 5] },
    ],
  },
  {
    title: text("plot.open_orders"),
    format: count,
    series: [
      { name: "orders.awaiting_payment", label: words("awaiting_payment"), colour: "blue" },
      { name: "orders.paying", label: words("paying"), colour: "orange" },
      { name: "orders.refunding", label: words("refunding"), colour: "purple", dash: [8, 5] },
    ],
  },
  {
    title: text("plot.unsettled"),
    format: count,
    series: [
      { name: "in_doubt", label: words("in_doubt"), colour: "orange" },
      { name: "stuck", label: words("stuck"), colour: "red", dash: [8, 5] },
    ],
  },
  {
    title: text("plot.tickets"),
    format: count,
    series: [{ name: "waiting", label: words("waiting"), colour: "blue", fill: true }],
  },
  {
    title: text("plot.database"),
    format: rate,
    series: [
      { name: "lock_waits", label: text("series.lock_waits"), colour: "blue" },
      { name: "deadlocks", label: text("series.deadlocks"), colour: "red", dash: [8, 5] },
    ],
  },
];
const refusals = element("ul", { class: "codes" });
const refusalsCard = element(
  "article",
  { class: "card", "aria-labelledby": "refused-by-code" },
  element("h3", { id: "refused-by-code", text: text("refused_by_code") }),
  refusals,
);
const plots = SHOP_PLOTS.map((one, index) => {
  const plot = new Plot(one);
  const id = `plot-${index}`;
  const card = element("article", { class: "card", "aria-labelledby": id }, element("h3", { id, text: one.title }), plot.root);
  byId("plots").append(card, ...(index === 0 ? [refusalsCard] : []));
  return plot;
});
const allPlots = () => [...plots, ...campaigns.plots(), ...sales.plots(), ...products.plots()];

let latest = null;
let windowSeconds = Number(document.querySelector("#window input:checked").value);

function show() {
  if (!latest || document.hidden) return;
  tiles.update(latest);
  campaigns.update(latest.campaigns, store, windowSeconds, latest.at);
  sales.update(latest.sales, store, windowSeconds, latest.at);
  products.update(latest.products, store, windowSeconds, latest.at);
  for (const plot of plots) plot.draw(store, windowSeconds);
  showRefusals(latest);
  showLaws(latest.laws, latest.at);
  setHidden(byId("sources"), latest.counts);
  setText(byId("sources"), latest.counts ? "" : text("source.redis"));
}

function showRefusals(snapshot) {
  const rows = snapshot.refusals.map((one) => `${words(one.code)} ${perSecond(one.rate)}`);
  if (!rows.length) rows.push(text(snapshot.requests.rate === null ? "not_known" : "none"));
  while (refusals.children.length > rows.length) refusals.lastChild.remove();
  while (refusals.children.length < rows.length) refusals.append(element("li"));
  rows.forEach((row, index) => setText(refusals.children[index], row));
}

function showLaws(laws, now) {
  const list = byId("laws");
  if (list.children.length !== laws.length) list.replaceChildren(...laws.map(() => element("li", {}, element("b"), element("span"))));
  laws.forEach((one, index) => {
    const item = list.children[index];
    item.dataset.holds = one.holds;
    setText(item.firstChild, one.law);
    setText(item.lastChild, ` ${lawState(one, now)}`);
    item.title = lawText(one.law);
  });
}

function lawState({ holds, checked_at: checkedAt, offenders }, now) {
  if (holds === null) return text("law.unknown");
  if (!holds) return text("law.broken", { count: count(offenders) });
  return checkedAt ? text("law.audited", { time: duration(Math.max(0, now - checkedAt)) }) : text("law.holds");
}

new Connection(options, {
  since: () => store.last,
  onFigures: (snapshot, points) => {
    latest = snapshot;
    store.add(snapshot.second, snapshot.point);
    if (points.length) store.merge(points);
    show();
  },
});

byId("window").addEventListener("change", (event) => {
  windowSeconds = Number(event.target.value);
  show();
});
const theme = window.boardTheme;
for (const input of document.querySelectorAll("#theme input")) input.checked = input.value === theme.read();
byId("theme").addEventListener("change", (event) => {
  theme.choose(event.target.value);
  for (const plot of allPlots()) plot.repaint();
});
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const plot of allPlots()) plot.repaint();
});
document.addEventListener("visibilitychange", show);
// As in board.css: a wall screen has nobody to open it.
const wall = window.matchMedia("(min-width: 100rem)");
const unfoldOnWall = () => {
  byId("machine").open = wall.matches;
};
wall.addEventListener("change", unfoldOnWall);
unfoldOnWall();
byId("machine").addEventListener("toggle", show);
document.querySelector(".jumps").addEventListener("click", ({ target }) => {
  const part = target.hash && document.querySelector(target.hash);
  if (part?.closest("details")) byId("machine").open = true;
});
