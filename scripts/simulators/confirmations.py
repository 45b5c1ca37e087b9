"""Charges that wait for the card's owner: the page with two buttons that stands for a bank's 3-D Secure
page."""

import base64
import hashlib
from html import escape

from starlette.responses import HTMLResponse, RedirectResponse, Response

from scripts.simulators.books import Book, Row, insert

SCHEMA = """
CREATE TABLE IF NOT EXISTS confirmations (
    charge_id TEXT PRIMARY KEY REFERENCES charges (id),
    url TEXT NOT NULL,
    return_url TEXT
) WITHOUT ROWID;
"""
DECISIONS = {"approve": None, "refuse": "authentication_failed"}
"""The buttons of the page, and the failure of a charge that is ended by one."""
ENDS = {
    "succeeded": "The payment is confirmed.",
    "declined": "The payment is refused.",
    "cancelled": "The shop has cancelled the payment: nothing is charged.",
}
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


def request(book: Book, *, charge_id: str, pages_at: str, return_url: str | None) -> None:
    """Have the owner confirm this charge, in the transaction that makes it."""
    url = f"{pages_at.rstrip('/')}/3ds/{charge_id}"
    insert(book, "confirmations", charge_id=charge_id, url=url, return_url=return_url)


def page_url(book: Book, charge_id: str) -> str | None:
    """Where the owner confirms the charge; None for a charge that needs no confirmation."""
    found = _find(book, charge_id)
    return found["url"] if found else None


def page(book: Book, charge: Row) -> Response:
    """The page of the charge: its two buttons, or how it has ended and the way back to the shop."""
    amount = f"{charge['amount']:,} {charge['currency']}"
    if charge["status"] == "pending":
        order = charge["order_id"] or "none: points are bought"
        return html("Confirm your payment", BUTTONS.format(amount=escape(amount), order=escape(order)))
    found = _find(book, charge["id"])
    back = found["return_url"] if found else None
    link = (
        f'<p><a href="{escape(back)}">Back to the shop</a></p>' if back else "<p>You may close this page.</p>"
    )
    return html(ENDS[charge["status"]], f'<p class="amount">{escape(amount)}</p>\n{link}')


def no_page() -> Response:
    """The page where there is no such charge."""
    return html("There is no such payment.", "<p>Open the address that the shop gave you.</p>", status=404)


def refused_decision() -> Response:
    """The page for a form without one of the two decisions."""
    content = "<p>Go back, and choose one of the two buttons.</p>"
    return html("That was neither approved nor refused.", content, status=400)


def show_again(charge_id: str) -> Response:
    """After a decision: the page is read again, so that a reload sends nothing twice."""
    return RedirectResponse(f"/3ds/{charge_id}", status_code=303, headers=HEADERS)


def _find(book: Book, charge_id: str) -> Row | None:
    statement = "SELECT * FROM confirmations WHERE charge_id = ?"
    found: Row | None = book.execute(statement, [charge_id]).fetchone()
    return found


def html(title: str, content: str, *, status: int = 200) -> Response:
    """A page of the gateway."""
    text = PAGE.format(title=escape(title), style=STYLE, content=content)
    return HTMLResponse(text, status_code=status, headers=HEADERS)
