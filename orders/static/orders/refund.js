// Steppers for the units of a refund, and the amount of what is chosen, which the server decides.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  const live = document.getElementById("refund-live");
  const form = live.closest("form");
  const submit = form.querySelector("button[type=submit]");
  const [amount, parts] = live.querySelectorAll("p");
  const units = [...form.querySelectorAll(".fc-stepper input")];
  const confirmed = Object.assign(document.createElement("input"), { type: "hidden", name: "confirmed", value: "yes" });
  const toContinue = submit.textContent;
  let asked = 0;

  live.hidden = false;
  submit.textContent = live.dataset.submit;
  for (const button of form.querySelectorAll("[data-step]")) {
    button.hidden = false;
    button.addEventListener("click", () => {
      const input = button.parentElement.querySelector("input");
      const value = Number(input.value || 0) + Number(button.dataset.step);
      input.value = Math.min(Number(input.max), Math.max(0, value));
      follow();
    });
  }
  for (const input of units) input.addEventListener("input", follow);
  for (const choice of form.elements.what) {
    choice.addEventListener("change", () => {
      if (choice.value !== "some") for (const input of units) input.value = choice.value === "all" ? input.max : 0;
      show();
    });
  }
  form.addEventListener("submit", () => setTimeout(() => (submit.disabled = true)));
  show();
  form.querySelector("[aria-invalid=true], [data-step='1']")?.focus();

  // What is to be refunded follows the units that are typed.
  function follow() {
    const isAll = units.every((input) => Number(input.value) === Number(input.max));
    for (const choice of form.elements.what) choice.checked = choice.value === (isAll ? "all" : "some");
    show();
  }

  async function show() {
    const number = ++asked;
    submit.disabled = true;
    const isNone = form.elements.what.value === "some" && units.every((input) => !Number(input.value));
    if (isNone) return say(live.dataset.none);
    const body = new FormData(form);
    body.set("live", "yes");
    try {
      const answer = await fetch(location.href, { method: "POST", body });
      const found = await answer.json();
      if (number !== asked) return;
      if (found.refusal) return say("", found.refusal);
      say(found.amount, found.parts);
      form.elements.shown.value = found.shown;
      submit.textContent = found.amount;
      form.append(confirmed);
    } catch {
      if (number !== asked) return;
      say("", live.dataset.failed);
      submit.textContent = toContinue;
      confirmed.remove();
    }
    submit.disabled = false;
  }

  function say(text, detail = "") {
    amount.textContent = text;
    parts.textContent = detail;
  }
});
