// Asks for the figures every second, and says how old they are while none come.

import { byId, setHidden, setText } from "./elements.js";
import { duration } from "./format.js";
import { text } from "./texts.js";

const EVERY_SECONDS = 1;
const AGAIN_SECONDS = 3;

export class Connection {
  // `since` returns the second of the last point that the page has.
  constructor({ figures, staleSeconds, signIn }, { since, onFigures }) {
    Object.assign(this, { figures, staleSeconds, since, onFigures });
    this.figuresAt = performance.now();
    this.reason = "";
    byId("sign-in").href = signIn;
    setInterval(() => this.showAge(), 500);
    // The browser lets the timers of a hidden page rest.
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden && this.timer) this.ask();
    });
    this.ask();
  }

  async ask() {
    clearTimeout(this.timer);
    this.timer = null;
    const askedAt = performance.now();
    const seconds = await this.fetch();
    if (this.isRefused) return;
    const spent = performance.now() - askedAt;
    this.timer = setTimeout(() => this.ask(), Math.max(100, seconds * 1000 - spent));
  }

  // Returns after how many seconds to ask again.
  async fetch() {
    try {
      const signal = AbortSignal.timeout(this.staleSeconds * 1000);
      const response = await fetch(`${this.figures}?since=${this.since()}`, { signal, redirect: "manual" });
      const answer = await response.json().catch(() => ({}));
      if (answer.snapshot) {
        this.show(answer);
        return EVERY_SECONDS;
      }
      if (response.status === 401 || response.status === 403) this.refuse(answer.detail ?? text("signed_out"));
      this.reason = answer.detail ?? "";
      return (Number(response.headers.get("Retry-After")) || AGAIN_SECONDS) * (0.8 + 0.4 * Math.random());
    } catch (error) {
      this.reason = "";
      return AGAIN_SECONDS;
    }
  }

  show({ snapshot, points }) {
    if (snapshot.second === this.second) return;
    this.second = snapshot.second;
    this.figuresAt = performance.now();
    this.reason = "";
    this.onFigures(snapshot, points);
    this.showAge();
  }

  refuse(reason) {
    this.isRefused = true;
    this.reason = reason;
    setHidden(byId("sign-in"), false);
    this.showAge();
  }

  showAge() {
    const seconds = (performance.now() - this.figuresAt) / 1000;
    const isStale = this.isRefused || seconds > this.staleSeconds;
    const hasFigures = this.second !== undefined;
    document.body.classList.toggle("stale", isStale);
    byId("live").dataset.state = isStale ? "lost" : hasFigures ? "live" : "waiting";
    setText(byId("live-text"), text(isStale ? "not_live" : hasFigures ? "live" : "connecting"));
    setHidden(byId("lost"), !isStale);
    const reason = !isStale ? "" : this.isRefused ? this.reason : `${text("lost")} ${this.reason}`.trim();
    // For screen readers, once: the age changes every second.
    setText(byId("announce"), reason);
    if (!isStale) return;
    setText(byId("lost-text"), reason);
    setText(byId("lost-age"), hasFigures ? text("age", { time: duration(seconds) }) : text("no_figures"));
  }
}
