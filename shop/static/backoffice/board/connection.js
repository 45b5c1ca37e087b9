// The stream: connects, connects again, and says how old the figures are while it can't.

import { byId, setHidden, setText } from "./elements.js";
import { duration } from "./format.js";
import { text } from "./texts.js";

const AGAIN_SECONDS = 3;

export class Connection {
  constructor({ stream, staleSeconds, signIn }, { onSeed, onSnapshot }) {
    Object.assign(this, { stream, staleSeconds, onSeed, onSnapshot });
    this.eventAt = performance.now();
    this.reason = "";
    byId("sign-in").href = signIn;
    setInterval(() => this.showAge(), 500);
    this.connect();
  }

  connect() {
    this.source?.close();
    this.source = new EventSource(this.stream);
    this.source.addEventListener("seed", (event) => this.onSeed(JSON.parse(event.data)));
    this.source.addEventListener("snapshot", (event) => {
      this.eventAt = performance.now();
      this.hasFigures = true;
      this.reason = "";
      this.onSnapshot(JSON.parse(event.data));
      this.showAge();
    });
    this.source.addEventListener("ended", (event) => {
      if (JSON.parse(event.data).reason === "signed_out") this.refuse(text("refused_viewer"));
    });
    // The browser connects again by itself, unless the answer was no stream.
    this.source.addEventListener("error", () => {
      if (this.source.readyState === EventSource.CLOSED && !this.isRefused) this.findOut();
    });
  }

  refuse(reason) {
    this.isRefused = true;
    this.reason = reason;
    this.source.close();
    setHidden(byId("sign-in"), false);
    this.showAge();
  }

  // Why there is no stream: an EventSource doesn't say.
  async findOut() {
    let pause = AGAIN_SECONDS;
    const abort = new AbortController();
    try {
      const response = await fetch(this.stream, { signal: abort.signal, redirect: "manual" });
      if (response.status === 401 || response.status === 403) {
        const { detail } = await response.json().catch(() => ({}));
        this.refuse(detail ?? text("signed_out"));
        return;
      }
      if (response.status === 503) {
        const { detail } = await response.json().catch(() => ({}));
        this.reason = detail ?? "";
        pause = Number(response.headers.get("Retry-After")) || AGAIN_SECONDS;
      }
    } catch (error) {
      this.reason = "";
    } finally {
      abort.abort();
    }
    setTimeout(() => this.connect(), pause * 1000 * (0.8 + 0.4 * Math.random()));
  }

  showAge() {
    const seconds = (performance.now() - this.eventAt) / 1000;
    const isStale = this.isRefused || seconds > this.staleSeconds;
    document.body.classList.toggle("stale", isStale);
    const live = byId("live");
    live.dataset.state = isStale ? "lost" : this.hasFigures ? "live" : "waiting";
    setText(byId("live-text"), text(isStale ? "not_live" : this.hasFigures ? "live" : "connecting"));
    setHidden(byId("lost"), !isStale);
    if (!isStale) {
      this.announce("");
      return;
    }
    const reason = this.isRefused ? this.reason : `${text("lost")} ${this.reason}`.trim();
    setText(byId("lost-text"), reason);
    this.announce(reason);
    setText(byId("lost-age"), this.hasFigures ? text("age", { time: duration(seconds) }) : text("no_figures"));
  }

  // For screen readers, once: the age changes every second.
  announce(reason) {
    setText(byId("announce"), reason);
  }
}
