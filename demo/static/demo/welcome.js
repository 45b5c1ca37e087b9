// Replaces the page's figures by those of a new reading, every few seconds while the page is seen.
"use strict";

const PERIOD_MS = 2500;
let timer = 0;
const state = document.getElementById("state");

async function refresh() {
  try {
    const response = await fetch(location.pathname, {
      headers: { Accept: "text/html" },
      signal: AbortSignal.timeout(5000),
    });
    if (!response.ok) throw new Error(`status ${response.status}`);
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const figures = page.getElementById("figures");
    const shown = document.getElementById("figures");
    if (figures && figures.innerHTML !== shown.innerHTML) shown.replaceWith(figures);
    show(state.dataset.fresh, false);
  } catch (error) {
    show(state.dataset.stale, true);
  }
}

// Set only when it changes, because screen readers announce it.
function show(text, isFailure) {
  if (state.textContent === text) return;
  state.textContent = text;
  document.body.classList.toggle("stale", isFailure);
}

async function run() {
  await refresh();
  schedule();
}

// A page that is not seen asks for nothing; it is refreshed once it is seen again.
function schedule() {
  clearTimeout(timer);
  if (!document.hidden) timer = setTimeout(run, PERIOD_MS);
}

document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : run()));
schedule();
