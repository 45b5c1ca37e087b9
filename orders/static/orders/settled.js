// Loads the page of an order again once what is under way has ended, unless a note is being written; asks ever more rarely.
"use strict";

let wait = 1_000;
const ask = async () => {
  const answer = document.hidden ? null : await fetch(location.href).catch(() => null);
  const isNoteEmpty = !document.getElementById("new-note")?.value;
  if (answer?.ok && isNoteEmpty && !(await answer.text()).includes("orders/settled")) location.reload();
  else setTimeout(ask, (wait = Math.min(wait * 1.5, 60_000)));
};
setTimeout(ask, wait);
