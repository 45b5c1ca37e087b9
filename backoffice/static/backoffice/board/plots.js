// Plots: uPlot with the page's colours, a legend with values, and the same figures as text and as a table.

import { element, setText } from "./elements.js";
import { clock, count, minute, short } from "./format.js";
import { text } from "./texts.js";

const TABLE_ROWS = 12;
const DESCRIBE_SECONDS = 5;
// Between two lines of the grid, where half of one would be none.
const WHOLE_STEPS = [1, 2, 5].flatMap((step) => [0, 1, 2, 3, 4, 5, 6, 7, 8].map((power) => step * 10 ** power)).sort((a, b) => a - b);

// Of letters and lines in plots, which are drawn on a canvas: they grow with the page's texts.
const rem = () => parseFloat(getComputedStyle(document.documentElement).fontSize);
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

export class Plot {
  // `series` is a list of {name, label, colour, dash, fill, format}; names are those of the store.
  // Its size is that of its element, which the style sheet decides.
  constructor({ title, series, unit = "", format, isCompact = false }) {
    Object.assign(this, { title, series, unit, format, isCompact });
    this.describedAt = 0;
    this.canvas = element("div", { class: "plot", role: "img", "aria-label": title });
    this.legend = element("ul", { class: "legend" });
    this.tableBody = element("tbody");
    this.details = element(
      "details",
      { class: "table" },
      element("summary", {}, text("table"), element("span", { class: "unseen", text: ` ${text("table.of", { title })}` })),
      this.makeTable(),
    );
    this.details.addEventListener("toggle", () => this.fillTable());
    this.values = series.map((one) => {
      const value = element("b");
      const swatch = element("i", { class: "swatch", "aria-hidden": "true", "data-colour": one.colour });
      this.legend.append(element("li", {}, swatch, `${one.label} `, value));
      return value;
    });
    this.root = element("div", { class: isCompact ? "plot-box compact" : "plot-box" }, ...(isCompact ? [] : [this.legend]), this.canvas, this.details);
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(this.canvas);
  }

  makeTable() {
    const head = element("tr", {}, element("th", { scope: "col", text: text("table.time") }));
    for (const one of this.series) head.append(element("th", { scope: "col", text: one.label }));
    return element(
      "div",
      { class: "scroll", tabindex: "0", role: "region", "aria-label": text("table.label", { title: this.title }) },
      element("table", {}, element("caption", { class: "unseen", text: this.title }), element("thead", {}, head), this.tableBody),
    );
  }

  draw(store, windowSeconds) {
    this.store = store;
    this.windowSeconds = windowSeconds;
    const data = store.columns(this.names(), windowSeconds);
    const range = { min: store.last - windowSeconds, max: store.last };
    if (!this.chart) this.make(data);
    if (!this.chart) return;
    this.chart.batch(() => {
      this.chart.setData(data, false);
      this.chart.setScale("x", range);
    });
    this.showValues();
    if (store.last - this.describedAt >= DESCRIBE_SECONDS) {
      this.describedAt = store.last;
      this.describe();
      this.fillTable();
    }
  }

  names() {
    return this.series.map((one) => one.name);
  }

  make(data) {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!width || !height) return;
    this.rem = rem();
    const letters = this.rem * (this.isCompact ? 0.75 : 0.85);
    const axis = { stroke: colour("muted"), grid: { stroke: colour("grid"), width: 1 }, ticks: { show: false } };
    const font = `${letters}px Inter, system-ui, sans-serif`;
    this.chart = new window.uPlot(
      {
        width,
        height,
        legend: { show: false },
        padding: [letters * 0.8, letters * 2.3, 0, 0],
        cursor: { sync: { key: "board" }, y: false, drag: { x: false, y: false }, points: { size: 7 } },
        scales: { x: { time: true, auto: false }, y: { range: (_, low, high) => [0, high > 0 ? high * 1.08 : 1] } },
        axes: [
          { ...axis, font, size: letters * 2, space: letters * 5.4, values: (_, seconds) => seconds.map((second) => this.time(second)) },
          {
            ...axis,
            font,
            size: letters * 4.2,
            space: letters * 2.2,
            ...(this.format === count ? { incrs: WHOLE_STEPS } : {}),
            values: (_, values) => values.map((value) => (this.format === count ? short(value) : this.format(value))),
          },
        ],
        series: [
          {},
          ...this.series.map((one) => ({
            stroke: colour(one.colour),
            fill: one.fill ? `${colour(one.colour)}26` : undefined,
            width: this.rem * 0.16,
            dash: one.dash?.map((length) => (length * this.rem) / 16),
            points: { show: false },
          })),
        ],
        hooks: { setCursor: [() => this.showValues()] },
      },
      data,
      this.canvas,
    );
  }

  time(second) {
    return this.windowSeconds <= 60 ? clock(second) : minute(second);
  }

  // The values under the pointer, otherwise the newest.
  showValues() {
    if (!this.chart) return;
    const last = this.chart.data[0].length - 1;
    const index = this.chart.cursor.idx ?? last;
    this.values.forEach((value, number) => setText(value, this.text(number, this.chart.data[number + 1]?.[index])));
  }

  text(number, value) {
    const format = this.series[number].format ?? this.format;
    return value === null || value === undefined ? "–" : `${format(value)}${this.unit}`;
  }

  describe() {
    const last = this.chart.data[0].length - 1;
    const now = this.series.map((one, number) => `${one.label} ${this.text(number, this.chart.data[number + 1][last])}`);
    const described = { title: this.title, minutes: this.windowSeconds / 60, values: now.join(", ") };
    this.canvas.setAttribute("aria-label", text("plot.now", described));
  }

  fillTable() {
    if (!this.details.open || !this.store) return;
    const rows = this.store.rows(this.names(), this.windowSeconds, TABLE_ROWS).map(([second, values]) =>
      element(
        "tr",
        {},
        element("th", { scope: "row", text: clock(second) }),
        ...values.map((value, number) => element("td", { text: this.text(number, value) })),
      ),
    );
    this.tableBody.replaceChildren(...rows);
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!this.chart || !width || !height || (width === this.chart.width && height === this.chart.height)) return;
    if (this.rem === rem()) this.chart.setSize({ width, height });
    else this.repaint();
  }

  // Colours and sizes of letters are read when a chart is made.
  repaint() {
    this.chart?.destroy();
    this.chart = null;
    if (this.store) this.draw(this.store, this.windowSeconds);
  }

  remove() {
    this.observer.disconnect();
    this.chart?.destroy();
    this.root.remove();
  }
}
