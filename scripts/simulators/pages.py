"""The gateway's pages: the one on which a card's owner confirms a charge, as at their bank, and a clerk's.

A clerk of the shop refunds a charge there, and its owner disputes it.
"""

import base64
import hashlib
from collections.abc import Mapping
from html import escape

from pydantic import ValidationError
from starlette.responses import HTMLResponse, RedirectResponse, Response

from scripts.simulators import charges
from scripts.simulators.books import Book, Row, new_id
from scripts.simulators.process import Refused

DECISIONS = {"approve": None, "refuse": "authentication_failed"}
"""The buttons of the owner's page, and the failure of a charge that is ended by one."""
ENDS = {
    "succeeded": "The payment is confirmed.",
    "declined": "The payment is refused.",
    "cancelled": "The shop has cancelled the payment: nothing is charged.",
}
NEWEST = 50
STYLE = """
body { font: 1.125rem/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 26rem; padding: 1.5rem; }
form { display: grid; gap: 0.75rem; }
button { font: inherit; min-height: 3rem; border: 1px solid; border-radius: 0.5rem; background: #fff; }
button.primary { background: #1d4ed8; color: #fff; }
.amount { font-size: 1.75rem; font-weight: 600; }
"""
STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{STYLE_HASH}'; form-action 'self';"
    " base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
<h1>{title}</h1>
{content}
</main>
</body>
</html>
"""
BUTTONS = """<p class="amount">{amount}</p>
<p>Order {order}. The gateway is a simulator: no bank is asked, and no money moves.</p>
<form method="post">
<button class="primary" name="decision" value="approve">Approve</button>
<button name="decision" value="refuse">Refuse</button>
</form>"""
FORM = """<form method="post"><input type="hidden" name="action" value="{action}">
{field}<button name="status" value="{status}">{text}</button></form>"""
AMOUNT = """<label>Amount, all that is left without one <input name="amount" inputmode="numeric"></label>"""


def of_owner(book: Book, charge: Row) -> Response:
    """The owner's page of the charge: two buttons, or how it has ended and the way back to the shop."""
    amount = escape(f"{charge['amount']:,} {charge['currency']}")
    if charge["status"] == "pending":
        order = charge["order_id"] or "none: points are bought"
        return _html("Confirm your payment", BUTTONS.format(amount=amount, order=escape(order)))
    found = charges.confirmation(book, charge["id"])
    back = escape(found["return_url"]) if found and found["return_url"] else ""
    link = f'<p><a href="{back}">Back to the shop</a></p>' if back else "<p>You may close this page.</p>"
    return _html(ENDS[charge["status"]], f'<p class="amount">{amount}</p>\n{link}')


def no_page() -> Response:
    return _html("There is no such payment.", "<p>Open the address that the shop gave you.</p>", status=404)


def refused_decision() -> Response:
    """The page for a form without one of the two decisions."""
    content = "<p>Go back, and choose one of the two buttons.</p>"
    return _html("That was neither approved nor refused.", content, status=400)


def show_again(path: str) -> Response:
    """After a form: the page is read again, so that a reload sends nothing twice."""
    return RedirectResponse(path, status_code=303, headers=HEADERS)


def of_newest(book: Book) -> Response:
    """The newest charges, each with a link to its clerk's page."""
    newest = book.execute("SELECT * FROM charges ORDER BY number DESC LIMIT ?", [NEWEST]).fetchall()
    links = [f'<li><a href="/dashboard/{row["id"]}">{_in_words(row)}</a></li>' for row in newest]
    return _html("Charges", f"<ul>{''.join(links)}</ul>" if links else "<p>There is none.</p>")


def of_clerk(book: Book, charge: Row, refusal: str = "") -> Response:
    """The clerk's page of a charge, with the forms for what may be done to it."""
    left = charges.left_amount(book, charge)
    parts = [f'<p class="amount">{_in_words(charge)}</p>', f"<p>{escape(refusal)}</p>"]
    parts.append(f"<p>{charge['refunded_amount']:,} refunded, {left:,} left. Order {charge['order_id']}.</p>")
    for action, text in {"refund": "Refund", "dispute": "Dispute, as the owner"}.items() if left else ():
        parts.append(FORM.format(action=action, field=AMOUNT, status="", text=text))
    for dispute in charges.disputes_of(book, charge["id"]):
        parts.append(f"<p>Dispute of {dispute['amount']:,}: {dispute['status']}.</p>")
        which = f'<input type="hidden" name="dispute" value="{dispute["id"]}">'
        for status in ("won", "lost") if dispute["status"] == "open" else ():
            text = f"The shop has {status} it"
            parts.append(FORM.format(action="close", field=which, status=status, text=text))
    parts.append('<p><a href="/dashboard">All charges</a></p>')
    return _html("Charge", "\n".join(parts), status=409 if refusal else 200)


def act(book: Book, charge: Row, form: Mapping[str, str]) -> Response:
    """Do what a form of the clerk's page says, and show the page again."""
    key, action = new_id("dashboard"), form.get("action")
    asked = {"charge": charge["id"], "amount": form.get("amount") or charges.left_amount(book, charge)}
    try:
        if action == "refund":
            charges.refund(book, key=key, asked=charges.RefundBody.model_validate(asked, strict=False))
        elif action == "dispute":
            charges.dispute(book, key=key, asked=charges.DisputeBody.model_validate(asked, strict=False))
        else:
            decision = charges.CloseBody.model_validate({"status": form.get("status")})
            charges.close(book, form.get("dispute", ""), asked=decision)
    except Refused as error:
        return of_clerk(book, charge, str(error))
    except ValidationError:
        return of_clerk(book, charge, "Choose one of the buttons, and give an amount in digits.")
    return show_again(f"/dashboard/{charge['id']}")


def _in_words(charge: Row) -> str:
    return escape(f"{charge['amount']:,} {charge['currency'] or ''} {charge['status']}, {charge['key']}")


def _html(title: str, content: str, *, status: int = 200) -> Response:
    text = PAGE.format(title=escape(title), style=STYLE, content=content)
    return HTMLResponse(text, status_code=status, headers=HEADERS)
