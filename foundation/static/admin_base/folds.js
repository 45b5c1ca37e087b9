// Folds the parts of a long page on a phone, and unfolds those of its form elsewhere. A part with an error, or to which the
// address leads, is open.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  for (const button of document.querySelectorAll("[data-print]")) {
    button.hidden = false;
    button.addEventListener("click", () => window.print());
  }
  const isPhone = matchMedia("(max-width: 47.99rem)").matches;
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const isNeeded = (part) => part.contains(target) || part.querySelector(".errorlist") !== null;
  for (const part of document.querySelectorAll("details.fc-fold")) part.open = !isPhone || isNeeded(part);
  for (const part of document.querySelectorAll("fieldset.collapse > details")) {
    part.open = isNeeded(part) || (!isPhone && part.parentElement.matches(".fc-open"));
  }
});
