// Focuses the first refused field, or the one that a form begins with. Chromium's own autofocus comes to nothing while
// styles load.
"use strict";

(document.querySelector("[aria-invalid=true]") ?? document.querySelector("form [autofocus]"))?.focus();
