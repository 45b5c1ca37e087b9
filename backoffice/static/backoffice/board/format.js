// Numbers, durations and times as the board shows them.

import { text } from "./texts.js";

const language = document.documentElement.lang;
const whole = new Intl.NumberFormat(language, { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat(language, { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const hundredths = new Intl.NumberFormat(language, { maximumFractionDigits: 2 });
export const UNKNOWN = "–";

const isKnown = (value) => value !== null && value !== undefined;

export function count(value) {
  return isKnown(value) ? whole.format(value) : UNKNOWN;
}

const compact = new Intl.NumberFormat(language, { notation: "compact", maximumFractionDigits: 1 });

// For the axis of a plot, which has little room.
export function short(value) {
  return value >= 100000 ? compact.format(value) : whole.format(value);
}

export function rate(value) {
  if (!isKnown(value)) return UNKNOWN;
  if (value >= 10 || value === 0) return whole.format(value);
  return value >= 1 ? tenths.format(value) : hundredths.format(value);
}

export function perSecond(value) {
  return isKnown(value) ? text("unit.per_second", { rate: rate(value) }) : UNKNOWN;
}

export function duration(seconds) {
  if (!isKnown(seconds)) return UNKNOWN;
  if (seconds < 10) return text("unit.seconds", { count: tenths.format(seconds) });
  if (seconds < 60) return text("unit.seconds", { count: Math.floor(seconds) });
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return text("unit.minutes", { minutes, seconds: Math.floor(seconds % 60) });
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return text("unit.hours", { hours, minutes: minutes % 60 });
  return text("unit.days", { count: whole.format(hours / 24) });
}

export function milliseconds(seconds) {
  if (!isKnown(seconds)) return UNKNOWN;
  if (seconds >= 1) return text("unit.seconds", { count: hundredths.format(seconds) });
  return text("unit.milliseconds", { count: whole.format(seconds * 1000) });
}

export function clock(second) {
  return new Date(second * 1000).toLocaleTimeString("en-GB", { timeZone: document.documentElement.dataset.zone });
}

export function minute(second) {
  return clock(second).slice(0, 5);
}
