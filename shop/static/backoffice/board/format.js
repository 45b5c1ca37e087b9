// Numbers, durations and times as the board shows them.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const hundredths = new Intl.NumberFormat("en", { maximumFractionDigits: 2 });
export const UNKNOWN = "–";

const isKnown = (value) => value !== null && value !== undefined;

export function count(value) {
  return isKnown(value) ? whole.format(value) : UNKNOWN;
}

const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

// For the axis of a plot, which has little room.
export function short(value) {
  return value >= 100000 ? compact.format(value) : whole.format(value);
}

export function rate(value) {
  if (!isKnown(value)) return UNKNOWN;
  if (value >= 10 || value === 0) return whole.format(value);
  return value >= 1 ? tenths.format(value) : hundredths.format(value);
}

export function duration(seconds) {
  if (!isKnown(seconds)) return UNKNOWN;
  if (seconds < 10) return `${tenths.format(seconds)} s`;
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${Math.floor(seconds % 60)} s`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h ${minutes % 60} min`;
  return `${whole.format(hours / 24)} days`;
}

export function milliseconds(seconds) {
  if (!isKnown(seconds)) return UNKNOWN;
  return seconds < 1 ? `${whole.format(seconds * 1000)} ms` : `${hundredths.format(seconds)} s`;
}

export function clock(second) {
  return new Date(second * 1000).toLocaleTimeString("en-GB");
}

export function minute(second) {
  return clock(second).slice(0, 5);
}

// `sold_out` as people read it.
export function words(code) {
  return code.replaceAll("_", " ");
}
