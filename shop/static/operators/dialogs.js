// The focus of unfold's dialogs: it goes into an opened dialog, not to the page behind it, and back at the end.
"use strict";

(() => {
  const page = document.getElementById("page");
  const modal = document.getElementById("modal");
  const content = document.getElementById("modal-content");
  if (!page || !modal || !content) return;
  const FIELDS = "input:not([type=hidden]), select, textarea";
  let opener = null;
  let isOpen = false;

  const focusFirst = () => (content.querySelector(`.errors :is(${FIELDS})`) ?? content.querySelector(FIELDS) ?? content).focus();

  // Alpine shows and hides the dialog by its style.
  new MutationObserver(() => {
    const isShown = getComputedStyle(modal).display !== "none";
    if (isShown === isOpen) return;
    isOpen = isShown;
    if (isOpen) opener = document.activeElement;
    // Neither Tab nor a screen reader leaves the dialog while the page is inert.
    page.inert = isOpen;
    if (isOpen) focusFirst();
    else opener?.focus();
  }).observe(modal, { attributes: true, attributeFilter: ["style"] });

  // A form that comes back with errors replaces the field that had the focus.
  document.addEventListener("htmx:afterSettle", () => {
    if (isOpen && !content.contains(document.activeElement)) focusFirst();
  });
})();
