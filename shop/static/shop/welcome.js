// Replaces the page's figures by those of a new reading, every second while the page is seen.
"use strict";

const PERIOD_MS = 1000;
const state = document.getElementById("state");

async function refresh() {
  if (document.hidden) return;
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
  setTimeout(run, PERIOD_MS);
}

setTimeout(run, PERIOD_MS);
