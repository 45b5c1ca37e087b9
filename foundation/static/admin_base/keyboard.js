// What unfold makes for the mouse alone is reached by keys too, and has a name that isn't its icon's.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  const ICONS = ".material-symbols-outlined";
  const CONTROLS = "a, button, [x-on\\:click]";
  const words = document.querySelector("script[data-menu-word]").dataset;

  const hasName = (control) => {
    const copy = control.cloneNode(true);
    for (const icon of copy.querySelectorAll(ICONS)) icon.remove();
    const text = control.matches(ICONS) ? "" : copy.textContent.trim();
    return text || control.title || control.ariaLabel;
  };
  const nameOf = (control) => {
    if (control.matches("a[href]")) return words.homeWord;
    return control.matches("[x-on\\:click*=Theme]") ? words.themeWord : words.menuWord;
  };
  for (const icon of document.querySelectorAll(ICONS)) {
    const control = icon.closest(CONTROLS);
    if (control && !hasName(control)) control.ariaLabel = nameOf(control);
    if (control !== icon) icon.ariaHidden = "true";
  }
  document.querySelectorAll("#result_list .data-row .action-select").forEach((box, index) => {
    box.ariaLabel += ` ${index + 1}: ${box.closest(".data-row").querySelector("th")?.textContent.trim() ?? ""}`;
  });
  for (const control of document.querySelectorAll("[x-on\\:click]:not(a[href], button, input)")) {
    if (getComputedStyle(control).cursor !== "pointer") continue;
    control.tabIndex = 0;
    control.role = "button";
    control.addEventListener("keydown", (event) => {
      if (event.target !== control || !["Enter", " "].includes(event.key)) return;
      event.preventDefault();
      control.click();
    });
  }
  const content = document.getElementById("content");
  if (content && words.skipWord) {
    const skip = document.createElement("a");
    skip.className = "fc-skip";
    skip.href = "#content";
    skip.textContent = words.skipWord;
    content.tabIndex = -1;
    document.body.prepend(skip);
  }
  // Unfold hides the page while it loads, and what is hidden can't take the focus.
  setTimeout(() => document.querySelector("[data-next-step]")?.focus());
});
