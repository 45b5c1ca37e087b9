// Amounts, times and countdowns as people read them. The time is the shop's, as its answers date it.

import { options, text } from "./options.js";

const digits = options.currencyDigits;
// The reader's own variety of the page's language, as `en-GB`.
const locale =
  navigator.languages.find((one) => one.split("-")[0] === options.language) ?? options.language;
const amounts = new Intl.NumberFormat(locale, {
  style: "currency",
  currency: options.currency,
  minimumFractionDigits: digits,
  maximumFractionDigits: digits,
});
const percents = new Intl.NumberFormat(locale, { style: "percent" });
const numbers = new Intl.NumberFormat(locale);
const instants = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "short" });
const clockTimes = new Intl.DateTimeFormat(locale, { timeStyle: "medium" });
let aheadMs = 0;

// An integer in the currency's minor unit.
export const money = (amount) => amounts.format(amount / 10 ** digits);

export const percent = (value) => percents.format(value / 100);

export const number = (count) => numbers.format(count);

// An order's number in groups of four; an id has its own hyphens.
export const grouped = (name) => (name.length > 8 ? name : name.replace(/^(.{4})/, "$1-"));

export const instant = (at) => instants.format(new Date(at));

export const clockTime = (at) => clockTimes.format(new Date(at));

// `date` is the header of an answer; a device whose clock is wrong still counts down to the right moment.
export function setClock(date) {
  const at = Date.parse(date ?? "");
  if (Number.isNaN(at)) return;
  const found = at - Date.now();
  // The header has whole seconds: less than that is no difference.
  if (Math.abs(found - aheadMs) > 1500) aheadMs = found;
}

// Whole seconds until then, 0 once it has passed.
export const secondsUntil = (at) => Math.max(0, Math.floor((Date.parse(at) - Date.now() - aheadMs) / 1000));

// `4:07`, `1:04:07`; from two days on in days.
export function countdown(seconds) {
  if (seconds >= 172_800) return text("time.days", { count: number(Math.floor(seconds / 86_400)) });
  const parts = [Math.floor(seconds / 60) % 60, seconds % 60];
  const hours = Math.floor(seconds / 3600);
  const [minutes, rest] = parts.map((part) => String(part).padStart(2, "0"));
  return hours ? `${hours}:${minutes}:${rest}` : `${parts[0]}:${rest}`;
}

// An estimate in words: `40 s`, `3 min`.
export function estimate(seconds) {
  if (seconds < 90) return text("time.seconds", { count: number(Math.max(1, Math.round(seconds))) });
  return text("time.minutes", { count: number(Math.round(seconds / 60)) });
}
