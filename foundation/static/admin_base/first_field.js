// Focuses the field that a form begins with. Chromium's own autofocus comes to nothing while styles load.
"use strict";

document.querySelector("[aria-invalid=true], form [autofocus]")?.focus();
