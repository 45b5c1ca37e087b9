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
});
