// Shows figures that take a while: the last piece of what the server has sent so far.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  for (const target of document.querySelectorAll("[data-streamed]")) show(target);

  async function show(target) {
    try {
      const answer = await fetch(target.dataset.streamed, { credentials: "same-origin" });
      if (!answer.ok) {
        const problem = await answer.json().catch(() => ({}));
        throw new Error(problem.detail || `${answer.status} ${answer.statusText}`);
      }
      const reader = answer.body.getReader();
      const decoder = new TextDecoder();
      let text = "";
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        text += decoder.decode(value, { stream: true });
        const pieces = text.split("\f");
        if (pieces.length > 1) target.innerHTML = pieces[pieces.length - 2];
        text = pieces[pieces.length - 1];
      }
      target.innerHTML = text;
      target.setAttribute("aria-busy", "false");
    } catch (error) {
      target.textContent = `${target.dataset.failed} (${error.message})`;
      target.classList.add("fc-figures-failed");
    }
  }
});
