// Tiles: the figures of this moment, large.

import { element, setText } from "./elements.js";
import { count, duration, milliseconds, perSecond, UNKNOWN } from "./format.js";
import { text } from "./texts.js";

const WARN = "warn";
const BAD = "bad";
const level = (value, warn, bad) => (value >= bad ? BAD : value >= warn ? WARN : "");

// Each returns [figure, a line below it, level]. Those of the machine are shown to all once they are bad.
const TILES = [
  [text("tile.requests"), ({ requests }) => [perSecond(requests.rate), text("tile.requests.note"), ""]],
  [
    text("tile.times"),
    ({ requests }) => [
      milliseconds(requests.p95),
      text("tile.times.note", { time: milliseconds(requests.p50) }),
      level(requests.p95 ?? 0, 0.5, 2),
    ],
    "machine",
  ],
  [
    text("tile.refused"),
    ({ requests }) => [
      requests.rate === null ? UNKNOWN : perSecond(requests.refused),
      text("tile.refused.note"),
      "",
    ],
  ],
  [
    text("queue"),
    ({ shop }) => [
      count(shop?.waiting),
      shop?.waiting ? text("tile.queue.waits", { time: duration(shop.wait_seconds) }) : text("tile.queue.note"),
      "",
    ],
  ],
  [
    text("tile.in_doubt"),
    ({ shop }) => [
      count(shop?.in_doubt),
      shop?.in_doubt ? text("tile.in_doubt.oldest", { time: duration(shop.in_doubt_oldest_seconds) }) : text("tile.in_doubt.note"),
      level(shop?.in_doubt ?? 0, 1, 10),
    ],
  ],
  [
    text("tile.disputes"),
    ({ shop }) => [count(shop?.disputes), text("tile.disputes.note"), level(shop?.disputes ?? 0, 1, 10)],
  ],
  [
    text("tile.stuck"),
    ({ shop }) => [count(shop?.stuck), text("tile.stuck.note", { count: count(shop?.unfinished) }), level(shop?.stuck ?? 0, 1, 1)],
  ],
  [
    text("tile.laws"),
    ({ laws }) => {
      const broken = laws.filter((one) => one.holds === false).map((one) => one.law);
      const unknown = laws.filter((one) => one.holds === null).length;
      if (broken.length) return [broken.join(" "), text("tile.laws.broken"), BAD];
      return [`${laws.length - unknown}`, unknown ? text("tile.laws.some", { count: unknown }) : text("tile.laws.all"), ""];
    },
    "machine",
  ],
];

export class Tiles {
  constructor(container) {
    this.tiles = TILES.map(([label, read, of]) => {
      const figure = element("span", { class: "big" });
      const note = element("span", { class: "note" });
      const root = element("div", { class: "tile", "data-of": of }, element("dt", { text: label }), element("dd", {}, figure, note));
      container.append(root);
      return { figure, note, root, read };
    });
  }

  update(snapshot) {
    for (const { figure, note, root, read } of this.tiles) {
      const [shown, below, state] = read(snapshot);
      setText(figure, shown);
      setText(note, below);
      root.dataset.level = state;
    }
  }
}
