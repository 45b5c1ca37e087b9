// Cards of campaigns, sales and products: what is left, how fast it goes, when it would end, and the buttons.

import { element, focusFirst, setHidden, setText } from "./elements.js";
import { UNKNOWN, clock, count, duration, perSecond } from "./format.js";
import { Plot } from "./plots.js";
import { text, words } from "./texts.js";

// Of a card, where they differ from the words of other pages.
const STATUS_TEXTS = { scheduled: "status.scheduled", inactive: "status.inactive" };

// Statuses in which nothing that is left means no end.
const WAITING = ["paused", "scheduled", "awaiting_codes"];

// A card keeps its place for so long, so that it doesn't jump from under a finger.
const SORT_SECONDS = 10;

// What goes fastest first, what has nothing left last; otherwise as the server has them.
const isEmpty = (row) => row.left !== null && row.left <= 0;
const byBusiness = (one, other) => isEmpty(one) - isEmpty(other) || (other.rate ?? 0) - (one.rate ?? 0);

// Of a sale's entries, in the order of a card.
const ENTRIES = ["waiting", "admitted", "used", "expired"];

class Card {
  constructor(kind, row, buttons, page) {
    this.kind = kind;
    this.row = row;
    const id = `${kind}-${row.id}`;
    this.name = element("a", { href: page.replace("/0/", `/${row.id}/`) });
    this.status = element("span", { class: "badge" });
    this.left = element("span", { class: "big" });
    this.of = element("span", { class: "of" });
    this.meter = element("div", { class: "meter", "aria-hidden": "true" }, element("div"));
    this.rate = element("dd");
    this.ends = element("dd");
    this.endsLabel = element("dt");
    this.queue = element("dd");
    this.queueBox = element("div", {}, element("dt", { text: text("queue") }), this.queue);
    this.entries = ENTRIES.map((status) => ({ status, number: element("dd") }));
    this.entriesBoxes = this.entries.map(({ status, number }) => element("div", {}, element("dt", { text: words(status) }), number));
    this.refusals = element("p", { class: "refusals" });
    this.paused = element("p", { class: "paused" });
    this.plot = new Plot({
      title: text(`left.${kind}`, { name: row.name }),
      series: [{ name: `${kind}.${row.id}`, label: text("left"), colour: "blue", fill: true }],
      format: count,
      isCompact: true,
    });
    this.buttons = element("div", { class: "buttons" }, ...buttons.map((one) => this.makeButton(one)));
    this.root = element(
      "article",
      { class: "card", "aria-labelledby": id },
      element("div", { class: "card-head" }, element("h3", { id }, this.name), this.status),
      element("p", { class: "left" }, this.left, " ", this.of),
      this.paused,
      this.meter,
      element(
        "dl",
        { class: "figures" },
        element("div", {}, element("dt", { text: text("rate") }), this.rate),
        element("div", {}, this.endsLabel, this.ends),
        this.queueBox,
        ...this.entriesBoxes,
      ),
      this.plot.root,
      this.refusals,
      this.buttons,
    );
  }

  makeButton({ action, label, isShown, press }) {
    const button = element("button", { type: "button", "data-action": action, text: label });
    button.addEventListener("click", () => press(action, this.kind, this.row, this.buttons));
    button.isShownFor = isShown;
    return button;
  }

  update(row, store, windowSeconds, now) {
    this.row = row;
    // Others have no quantity to begin with: the most that was left in the time that is known stands for it.
    const total = this.kind === "campaign" ? row.capacity : store.most(`${this.kind}.${row.id}`);
    setText(this.name, row.name);
    setText(this.status, STATUS_TEXTS[row.status] ? text(STATUS_TEXTS[row.status]) : words(row.status));
    this.status.dataset.status = row.status;
    // One for everybody has nothing to be left of.
    const isEndless = row.left === null;
    this.root.dataset.status = isEndless || row.left > 0 || WAITING.includes(row.status) ? row.status : "sold_out";
    setText(this.left, count(isEndless ? row.issued : row.left));
    setText(this.of, isEndless ? text("of.everybody") : this.explainLeft(row));
    setHidden(this.paused, !row.paused_at);
    if (row.paused_at) setText(this.paused, this.explainPause(row));
    setHidden(this.meter, isEndless);
    setHidden(this.plot.root, isEndless);
    this.meter.firstChild.style.width = `${total ? Math.max(0, Math.min(100, (100 * row.left) / total)) : 0}%`;
    setText(this.rate, perSecond(row.rate));
    this.showEnd(row, now);
    setHidden(this.queueBox, !row.waiting);
    if (row.waiting) setText(this.queue, text("queue.wait", { count: count(row.waiting), time: duration(row.wait_seconds) }));
    for (const box of this.entriesBoxes) setHidden(box, !row.entries);
    if (row.entries) for (const { status, number } of this.entries) setText(number, count(row.entries[status]));
    this.showRefusals(row.refusals);
    // A button that is hidden loses the focus: the one in its place takes it.
    const focused = [...this.buttons.children].find((button) => button === document.activeElement);
    for (const button of this.buttons.children) {
      setHidden(button, !button.isShownFor(row));
      const label = text(`press.${this.kind}`, { action: button.textContent, name: row.name });
      if (button.getAttribute("aria-label") !== label) button.setAttribute("aria-label", label);
    }
    if (focused?.hidden) focusFirst(this.buttons);
    this.plot.draw(store, windowSeconds);
  }

  // A partner that confirms a slot makes it a coupon also during a pause.
  explainPause(row) {
    const note = row.with_partner === 1 ? text("partner.one") : row.with_partner ? text("partner.some", { count: count(row.with_partner) }) : "";
    return `${text("paused", { time: clock(row.paused_at) })} ${note}`.trim();
  }

  explainLeft(row) {
    if (this.kind === "campaign") return text("of.campaign", { count: count(row.capacity) });
    if (this.kind === "product") return text("of.product", { count: count(row.reserved) });
    return row.rate_per_minute === null ? text("of.sale") : text("of.sale.queued", { count: count(row.rate_per_minute) });
  }

  showEnd(row, now) {
    if (row.status === "scheduled") {
      setText(this.endsLabel, text("opens_in"));
      setText(this.ends, duration(Math.max(0, row.opens_at - now)));
      return;
    }
    setText(this.endsLabel, text("gone_in"));
    const end = isEmpty(row) ? words(row.status === "awaiting_codes" ? row.status : "sold_out") : row.ends_in_seconds === null ? UNKNOWN : duration(row.ends_in_seconds);
    setText(this.ends, end);
  }

  showRefusals(refusals) {
    const shown = (refusals ?? []).map((one) => `${words(one.code)} ${perSecond(one.rate)}`).join(" · ");
    setHidden(this.refusals, !shown);
    setText(this.refusals, shown ? text("refusals", { codes: shown }) : "");
  }
}

export class Cards {
  constructor(container, empty, kind, buttons, page) {
    Object.assign(this, { container, empty, kind, buttons, page, sortedAt: 0 });
    this.byId = new Map();
  }

  update(rows, store, windowSeconds, now) {
    setHidden(this.empty, rows.length > 0);
    const shown = new Set(rows.map((row) => row.id));
    for (const [id, card] of this.byId) {
      if (!shown.has(id)) {
        card.plot.remove();
        card.root.remove();
        this.byId.delete(id);
      }
    }
    rows.forEach((row) => {
      if (!this.byId.has(row.id)) {
        this.sortedAt = 0;
        const card = new Card(this.kind, row, this.buttons, this.page);
        this.byId.set(row.id, card);
        this.container.append(card.root);
      }
    });
    this.sort(rows, now);
    for (const row of rows) this.byId.get(row.id).update(row, store, windowSeconds, now);
  }

  // Not while a card has the focus or the pointer: moving it would take it away.
  sort(rows, now) {
    const isHeld = this.container.contains(document.activeElement) || this.container.matches(":hover");
    if (isHeld || Math.abs(now - this.sortedAt) < SORT_SECONDS) return;
    this.sortedAt = now;
    const wanted = [...rows].sort(byBusiness).map((row) => this.byId.get(row.id).root);
    if (wanted.some((root, index) => this.container.children[index] !== root)) this.container.append(...wanted);
  }

  plots() {
    return [...this.byId.values()].map((card) => card.plot);
  }
}
