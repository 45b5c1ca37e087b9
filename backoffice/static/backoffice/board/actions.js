// The dialog of the buttons: says what will happen, asks for a reason, sends it, and shows what was done.

import { byId, focusFirst, setHidden, setText } from "./elements.js";
import { count } from "./format.js";
import { text } from "./texts.js";

const TOAST_SECONDS = 12;

// What a pause doesn't stop: a partner that confirms a slot makes it a coupon.
function partnerNote(row) {
  if (!row.with_partner) return "";
  if (row.with_partner === 1) return ` ${text("partner.one")}`;
  return ` ${text("partner.some", { count: count(row.with_partner) })}`;
}

export class Actions {
  constructor(base) {
    this.base = base;
    this.dialog = byId("confirm");
    this.form = byId("confirm-form");
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.send();
    });
    byId("cancel").addEventListener("click", () => this.dialog.close());
    // The button that was pressed may be hidden by now, and can't take the focus back.
    this.dialog.addEventListener("close", () => {
      if (document.activeElement === document.body) focusFirst(this.asked.buttons);
    });
  }

  ask(action, kind, row, buttons) {
    this.asked = { action, kind, row, buttons };
    this.form.reset();
    setText(byId("confirm-title"), text(`${action}.title`, { name: row.name }));
    setText(byId("confirm-text"), text(`${action}.${kind}`) + (action === "pause" ? partnerNote(row) : ""));
    setText(byId("submit"), text(action));
    setText(byId("confirm-error"), "");
    setHidden(byId("quantity-field"), action !== "quantity");
    const quantity = byId("quantity");
    quantity.required = action === "quantity";
    if (action === "quantity") {
      quantity.min = row.quantity + 1;
      quantity.placeholder = text("quantity.more", { count: count(row.quantity) });
    }
    this.dialog.showModal();
    (action === "quantity" ? quantity : byId("reason")).focus();
  }

  async send() {
    const { action, kind, row } = this.asked;
    const invalid = [...this.form.elements].find((field) => field.willValidate && !field.checkValidity());
    if (invalid) {
      this.fail(invalid.id === "reason" ? text("reason.missing") : text("quantity.invalid", { count: count(row.quantity) }));
      invalid.focus();
      return;
    }
    byId("submit").disabled = true;
    try {
      const response = await fetch(`${this.base}${kind}s/${row.id}/${action}/`, {
        method: "POST",
        body: new URLSearchParams(new FormData(this.form)),
        headers: { Accept: "application/json" },
      });
      const answer = await response.json().catch(() => ({}));
      if (response.ok) {
        this.dialog.close();
        this.toast(answer.detail);
      } else {
        this.fail(answer.detail ?? text("refused", { status: response.status }));
      }
    } catch (error) {
      this.fail(text("no_answer"));
    } finally {
      byId("submit").disabled = false;
    }
  }

  fail(message) {
    setText(byId("confirm-error"), message);
  }

  toast(message) {
    const toast = byId("toast");
    setText(toast, message);
    toast.classList.add("shown");
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      toast.classList.remove("shown");
      setText(toast, "");
    }, TOAST_SECONDS * 1000);
  }
}
