// A button beside what carries `data-copy`, which copies its text; the value of `data-copy` names what that is.
"use strict";

// Pages over plain HTTP have no `navigator.clipboard`.
const copy = async (shown) => {
  if (navigator.clipboard) return navigator.clipboard.writeText(shown.textContent.trim());
  getSelection().selectAllChildren(shown);
  document.execCommand("copy");
};

document.addEventListener("DOMContentLoaded", () => {
  const words = document.querySelector("script[data-copied-word]").dataset;
  for (const shown of document.querySelectorAll("[data-copy]")) {
    const button = document.createElement("button");
    const icon = document.createElement("span");
    icon.className = "material-symbols-outlined";
    icon.setAttribute("aria-hidden", "true");
    icon.textContent = "content_copy";
    button.type = "button";
    button.className = "fc-copy";
    button.title = `${words.copyWord} ${shown.dataset.copy || shown.textContent}`;
    button.setAttribute("aria-label", button.title);
    button.append(icon, shown.dataset.copy ? words.copyWord : "");
    button.addEventListener("click", async () => {
      await copy(shown);
      icon.textContent = "check";
      button.setAttribute("aria-label", words.copiedWord);
      setTimeout(() => {
        icon.textContent = "content_copy";
        button.setAttribute("aria-label", button.title);
      }, 2_000);
    });
    // A link has no buttons in it.
    (shown.closest("a") ?? shown).after(button);
  }
});
