// The launch board: figures come every second, and go into tiles, cards and plots.

import { Actions } from "./actions.js";
import { Cards } from "./cards.js";
import { Connection } from "./connection.js";
import { byId, element, setHidden, setText } from "./elements.js";
import { count, duration, milliseconds, rate, words } from "./format.js";
import { Plot } from "./plots.js";
import { Store } from "./store.js";
import { Tiles } from "./tiles.js";

const options = JSON.parse(byId("options").textContent);
const store = new Store(options.historyMinutes);
const actions = new Actions(options.base);
const tiles = new Tiles(byId("tiles"));
const press = (action, kind, row) => actions.ask(action, kind, row);
const pausing = (may) =>
  may
    ? [
        { action: "pause", label: "Pause", isShown: (row) => row.status !== "paused", press },
        { action: "resume", label: "Resume", isShown: (row) => row.status === "paused", press },
      ]
    : [];
const raising = { action: "quantity", label: "Raise", isShown: () => true, press };
const campaigns = new Cards(byId("campaigns"), byId("campaigns-empty"), "campaign", [
  ...pausing(options.mayChangeCampaigns),
  ...(options.mayChangeCampaigns ? [raising] : []),
]);
const products = new Cards(byId("products"), byId("products-empty"), "product", pausing(options.mayChangeProducts));

const SHOP_PLOTS = [
  {
    title: "Requests a second",
    format: rate,
    series: [
      { name: "requests", label: "answered", colour: "blue", fill: true },
      { name: "refusals", label: "of them refused", colour: "orange" },
    ],
  },
  {
    title: "Response times",
    format: milliseconds,
    series: [
      { name: "p95", label: "p95", colour: "orange" },
      { name: "p50", label: "p50", colour: "blue" },
      { name: "p95.coupons", label: "coupons p95", colour: "purple", dash: [8, 5] },
      { name: "p95.orders", label: "orders p95", colour: "green", dash: [3, 4] },
    ],
  },
  {
    title: "Orders a second",
    format: rate,
    series: [
      { name: "orders_a_second.placed", label: "placed", colour: "blue", fill: true },
      { name: "orders_a_second.paid", label: "paid", colour: "green" },
      { name: "orders_a_second.payment_failed", label: "payment failed", colour: "red", dash: [8, 5] },
    ],
  },
  {
    title: "Open orders",
    format: count,
    series: [
      { name: "orders.awaiting_payment", label: "awaiting payment", colour: "blue" },
      { name: "orders.paying", label: "paying", colour: "orange" },
      { name: "orders.refunding", label: "refunding", colour: "purple", dash: [8, 5] },
    ],
  },
  {
    title: "Payments in doubt, stuck sagas",
    format: count,
    series: [
      { name: "in_doubt", label: "in doubt", colour: "orange" },
      { name: "stuck", label: "stuck", colour: "red", dash: [8, 5] },
    ],
  },
  { title: "Queue tickets waiting", format: count, series: [{ name: "waiting", label: "waiting", colour: "blue", fill: true }] },
  {
    title: "Database, a second",
    format: rate,
    series: [
      { name: "lock_waits", label: "lock waits", colour: "blue" },
      { name: "deadlocks", label: "deadlocks", colour: "red", dash: [8, 5] },
    ],
  },
];
const refusals = element("ul", { class: "codes" });
const plots = SHOP_PLOTS.map((one, index) => {
  const plot = new Plot({ ...one, height: 190 });
  const id = `plot-${index}`;
  const card = element("article", { class: "card", "aria-labelledby": id }, element("h3", { id, text: one.title }), plot.root);
  if (index === 0) card.append(element("h4", { text: "Refused, by code" }), refusals);
  byId("plots").append(card);
  return plot;
});
const allPlots = () => [...plots, ...campaigns.plots(), ...products.plots()];

let latest = null;
let windowSeconds = Number(document.querySelector("#window input:checked").value);

function show() {
  if (!latest || document.hidden) return;
  tiles.update(latest);
  campaigns.update(latest.campaigns, store, windowSeconds, latest.at);
  products.update(latest.products, store, windowSeconds, latest.at);
  for (const plot of plots) plot.draw(store, windowSeconds);
  showRefusals(latest);
  showLaws(latest.laws, latest.at);
  showSources(latest.sources);
}

function showRefusals(snapshot) {
  const rows = snapshot.refusals.map((one) => `${words(one.code)} ${rate(one.rate)}/s`);
  if (!rows.length) rows.push(snapshot.requests.rate === null ? "not known" : "none");
  while (refusals.children.length > rows.length) refusals.lastChild.remove();
  while (refusals.children.length < rows.length) refusals.append(element("li"));
  rows.forEach((text, index) => setText(refusals.children[index], text));
}

function showLaws(laws, now) {
  const list = byId("laws");
  if (list.children.length !== laws.length) list.replaceChildren(...laws.map(() => element("li", {}, element("b"), element("span"))));
  laws.forEach((one, index) => {
    const item = list.children[index];
    item.dataset.holds = one.holds;
    setText(item.firstChild, one.law);
    const age = one.checked_at ? `, audited ${duration(Math.max(0, now - one.checked_at))} ago` : "";
    const state = one.holds === null ? "not audited yet" : one.holds ? `holds${age}` : `broken: ${count(one.offenders)} offenders`;
    setText(item.lastChild, ` ${state}`);
    item.title = one.says;
  });
}

// What the figures can't say now: Redis counts the requests of all processes, the database has all else.
function showSources({ counts, ages }) {
  const missing = [];
  if (!counts) missing.push("Redis is unavailable: requests, refusals and response times are not known.");
  else if (ages.counts > options.countsStaleSeconds) {
    missing.push(`Redis last answered ${duration(ages.counts)} ago: requests, refusals and response times are as old.`);
  }
  const age = Math.max(ages.sale ?? 0, ages.shop ?? 0);
  if (ages.sale === null || ages.shop === null) missing.push("The database has not answered yet.");
  else if (age > options.databaseStaleSeconds) missing.push(`The database last answered ${duration(age)} ago: its figures are as old.`);
  setHidden(byId("sources"), !missing.length);
  setText(byId("sources"), missing.join(" "));
}

new Connection(options, {
  onSeed: (seed) => store.merge(seed),
  onSnapshot: (snapshot) => {
    latest = snapshot;
    store.add(snapshot.second, snapshot.point);
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
