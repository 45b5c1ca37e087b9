// How long it is until each opening, by the second in the last day. Without a script the page says it in words.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  const times = [...document.querySelectorAll("time[data-countdown]")];
  const spans = (seconds) => [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  const show = () => {
    for (const time of times) {
      const seconds = Math.round((Date.parse(time.dateTime) - Date.now()) / 1000);
      if (seconds < 0 || seconds > 86400) continue;
      time.textContent = spans(seconds).map((one) => String(one).padStart(2, "0")).join(":");
    }
  };
  show();
  if (times.length) setInterval(show, 1000);
});
