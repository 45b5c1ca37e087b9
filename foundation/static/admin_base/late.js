// Shows figures that take a while to read.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  for (const target of document.querySelectorAll("[data-late]")) show(target);

  async function show(target) {
    try {
      const answer = await fetch(target.dataset.late);
      if (!answer.ok) {
        const problem = await answer.json().catch(() => ({}));
        throw new Error(problem.detail || `${answer.status} ${answer.statusText}`);
      }
      target.innerHTML = await answer.text();
      target.setAttribute("aria-busy", "false");
    } catch (error) {
      target.textContent = `${target.dataset.failed} (${error.message})`;
      target.classList.add("fc-figures-failed");
    }
  }
});
