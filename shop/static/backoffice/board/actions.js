// The dialog of the buttons: says what will happen, asks for a reason, sends it, and shows what was done.

import { byId, setHidden, setText } from "./elements.js";
import { count } from "./format.js";

const TEXTS = {
  pause: {
    campaign: "No process issues a coupon of it from the answer on. Tickets keep their places, and coupons stay valid.",
    product: "No process sells it from the answer on. Open orders are paid, cancelled and refunded as before.",
    verb: "Pause",
  },
  resume: { campaign: "It issues coupons again, and its queue goes on.", product: "It can be ordered again.", verb: "Resume" },
  quantity: { campaign: "More coupons can be issued at once. This can't be undone below what is issued by then.", verb: "Raise" },
};
const TOAST_SECONDS = 12;

// What a pause doesn't stop: a partner that confirms a slot makes it a coupon.
function partnerNote(row) {
  if (!row.with_partner) return "";
  if (row.with_partner === 1) return " 1 slot is with the partner and may still become a coupon.";
  return ` ${count(row.with_partner)} slots are with the partner and may still become coupons.`;
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
  }

  ask(action, kind, row) {
    this.asked = { action, kind, row };
    const { verb } = TEXTS[action];
    const title = action === "quantity" ? `Raise the quantity of ${row.name}?` : `${verb} ${row.name}?`;
    this.form.reset();
    setText(byId("confirm-title"), title);
    setText(byId("confirm-text"), TEXTS[action][kind] + (action === "pause" ? partnerNote(row) : ""));
    setText(byId("submit"), verb);
    setText(byId("confirm-error"), "");
    setHidden(byId("quantity-field"), action !== "quantity");
    const quantity = byId("quantity");
    quantity.required = action === "quantity";
    if (action === "quantity") {
      quantity.min = row.quantity + 1;
      quantity.placeholder = `more than ${count(row.quantity)}`;
    }
    this.dialog.showModal();
    (action === "quantity" ? quantity : byId("reason")).focus();
  }

  async send() {
    const { action, kind, row } = this.asked;
    const invalid = [...this.form.elements].find((field) => field.willValidate && !field.checkValidity());
    if (invalid) {
      this.fail(invalid.id === "reason" ? "Give the reason." : `Enter a whole number above ${count(row.quantity)}.`);
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
        this.fail(answer.detail ?? `The shop refused it (${response.status}). Reload the page, and try again.`);
      }
    } catch (error) {
      this.fail("The shop didn't answer: it may have been done or not. Look at the board, and try again; repeating is safe.");
    } finally {
      byId("submit").disabled = false;
    }
  }

  fail(text) {
    setText(byId("confirm-error"), text);
  }

  toast(text) {
    const toast = byId("toast");
    setText(toast, text);
    toast.classList.add("shown");
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      toast.classList.remove("shown");
      setText(toast, "");
    }, TOAST_SECONDS * 1000);
  }
}
