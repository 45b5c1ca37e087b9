// Tiles: the figures of this moment, large.

import { element, setText } from "./elements.js";
import { count, duration, milliseconds, rate } from "./format.js";

const WARN = "warn";
const BAD = "bad";
const level = (value, warn, bad) => (value >= bad ? BAD : value >= warn ? WARN : "");

// Each returns [figure, a line below it, level].
const TILES = [
  ["Requests", ({ requests }) => [`${rate(requests.rate)}/s`, "calls of the API", ""]],
  [
    "Response time",
    ({ requests }) => [milliseconds(requests.p95), `p95; p50 ${milliseconds(requests.p50)}`, level(requests.p95 ?? 0, 0.5, 2)],
  ],
  [
    "Refused",
    ({ requests, refusals }) => [
      requests.rate === null ? "–" : `${rate(refusals.reduce((sum, one) => sum + one.rate, 0))}/s`,
      "by all codes",
      "",
    ],
  ],
  ["Queue", ({ shop }) => [count(shop?.waiting), shop?.waiting ? `first waits ${duration(shop.wait_seconds)}` : "tickets", ""]],
  [
    "In doubt",
    ({ shop }) => [
      count(shop?.in_doubt),
      shop?.in_doubt ? `oldest ${duration(shop.in_doubt_oldest_seconds)}` : "payments",
      level(shop?.in_doubt ?? 0, 1, 10),
    ],
  ],
  ["Stuck", ({ shop }) => [count(shop?.stuck), `of ${count(shop?.unfinished)} sagas under way`, level(shop?.stuck ?? 0, 1, 1)]],
  [
    "Laws",
    ({ laws }) => {
      const broken = laws.filter((one) => one.holds === false).map((one) => one.law);
      const unknown = laws.filter((one) => one.holds === null).length;
      if (broken.length) return [broken.join(" "), "broken", BAD];
      return [`${laws.length - unknown}`, unknown ? `hold, ${unknown} not audited` : "hold, all of them", ""];
    },
  ],
];

export class Tiles {
  constructor(container) {
    this.tiles = TILES.map(([label, read]) => {
      const figure = element("span", { class: "big" });
      const note = element("span", { class: "note" });
      const root = element("div", { class: "tile" }, element("dt", { text: label }), element("dd", {}, figure, note));
      container.append(root);
      return { figure, note, root, read };
    });
  }

  update(snapshot) {
    for (const { figure, note, root, read } of this.tiles) {
      const [text, below, state] = read(snapshot);
      setText(figure, text);
      setText(note, below);
      root.dataset.level = state;
    }
  }
}
