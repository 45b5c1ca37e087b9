// Under each control for a day and a time: buttons, and what it says in other time zones and as a countdown.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  for (const input of document.querySelectorAll("input[data-zone]")) explain(input);

  function explain(input) {
    const { zone, now, later, hour } = input.dataset;
    const note = document.createElement("p");
    note.className = "fc-instant";
    note.id = `${input.id}_elsewhere`;
    const buttons = document.createElement("p");
    buttons.className = "fc-instant-buttons";
    const at = () => instantOf(input.value, zone);
    const HOUR = 3600000;
    for (const [label, choose] of [
      [now, () => Date.now()],
      [later, () => (at() ?? Date.now()) + HOUR],
      [hour, () => Math.floor(Date.now() / HOUR + 1) * HOUR],
    ]) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = label;
      button.addEventListener("click", () => {
        input.value = wallTime(Math.floor(choose() / 60000) * 60000, zone).slice(0, 16);
        input.dispatchEvent(new Event("input", { bubbles: true }));
      });
      buttons.append(button);
    }
    input.after(buttons, note);
    input.setAttribute("aria-describedby", [input.getAttribute("aria-describedby"), note.id].filter(Boolean).join(" "));
    const show = () => {
      const instant = at();
      const text = instant === null ? "" : elsewhere(instant, input.dataset);
      if (note.textContent !== text) note.textContent = text;
    };
    input.addEventListener("input", show);
    setInterval(show, 1000);
    show();
  }

  function elsewhere(instant, words) {
    const own = Intl.DateTimeFormat().resolvedOptions().timeZone;
    const zones = [...new Set([words.zone, "UTC", own])].map((zone) => {
      const shown = wallTime(instant, zone).replace("T", " ").slice(0, 16);
      return `${shown} ${zone}${zone === own && zone !== words.zone && zone !== "UTC" ? ` (${words.browser})` : ""}`;
    });
    return [...zones, countdown(instant, words)].join(" · ");
  }

  function countdown(instant, words) {
    const left = Math.round((instant - Date.now()) / 1000);
    const seconds = Math.abs(left);
    const parts = [
      [words.days, Math.floor(seconds / 86400)],
      [words.hours, Math.floor(seconds / 3600) % 24],
      [words.minutes, Math.floor(seconds / 60) % 60],
      [words.seconds, seconds % 60],
    ];
    const first = Math.max(0, Math.min(2, parts.findIndex(([, count]) => count > 0)));
    const time = parts.slice(first, first + 2).map(([word, count]) => word.replace("{count}", count)).join(" ");
    return (left < 0 ? words.ago : words.in).replace("{time}", time);
  }

  // The wall time in the zone, as the control takes it.
  function wallTime(instant, zone) {
    return new Date(instant).toLocaleString("sv-SE", { timeZone: zone }).replace(" ", "T");
  }

  // Null for a control that is empty or incomplete. Two steps, because the zone's offset depends on the instant.
  function instantOf(text, zone) {
    const asUtc = Date.parse(`${text}Z`);
    if (Number.isNaN(asUtc)) return null;
    let instant = asUtc;
    for (let step = 0; step < 2; step += 1) instant += asUtc - Date.parse(`${wallTime(instant, zone)}Z`);
    return instant;
  }
});
