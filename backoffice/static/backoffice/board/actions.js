// The buttons. A pause and its end are sent at once; all else asks in a dialog, which sends a reason with it.

import { byId, focusFirst, setHidden, setText } from "./elements.js";
import { count } from "./format.js";
import { text } from "./texts.js";

const TOAST_SECONDS = 12;

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
    setText(byId("confirm-text"), text(`${action}.text`));
    setText(byId("submit"), text(`${action}.submit`));
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
    const { isDone, message } = await this.post(action, kind, row, new FormData(this.form));
    byId("submit").disabled = false;
    if (isDone) {
      this.dialog.close();
      this.toast(message);
    } else {
      this.fail(message);
    }
  }

  async press(action, kind, row) {
    const token = new FormData();
    token.set("csrfmiddlewaretoken", this.form.elements.csrfmiddlewaretoken.value);
    this.toast((await this.post(action, kind, row, token)).message);
  }

  async post(action, kind, row, fields) {
    try {
      const response = await fetch(`${this.base}${kind}s/${row.id}/${action}/`, {
        method: "POST",
        body: new URLSearchParams(fields),
        headers: { Accept: "application/json" },
      });
      const answer = await response.json().catch(() => ({}));
      return { isDone: response.ok, message: answer.detail ?? text("refused", { status: response.status }) };
    } catch (error) {
      return { isDone: false, message: text("no_answer") };
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
