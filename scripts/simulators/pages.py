"""The gateway's page with two buttons, on which a card's owner confirms a charge: it stands for a bank's
3-D Secure page."""

from html import escape

from starlette.responses import HTMLResponse

from scripts.simulators import charges
from scripts.simulators.books import Book, Row

DECISIONS = {"approve": None, "refuse": "authentication_failed"}
"""The buttons of the owner's page, and the failure of a charge that is ended by one."""
TITLES = {
    "pending": "Confirm your payment",
    "succeeded": "The payment is confirmed.",
    "declined": "The payment is refused.",
    "cancelled": "The shop has cancelled the payment: nothing is charged.",
}
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 1.125rem/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 26rem; padding: 1.5rem; }}
button {{ font: inherit; min-height: 3rem; width: 100%; margin-bottom: 0.75rem; }}
</style>
</head>
<body><main><h1>{title}</h1>
<p>{amount}</p>
{content}
</main></body>
</html>
"""
BUTTONS = """<p>Order {order}. The gateway is a simulator: no bank is asked, and no money moves.</p>
<form method="post">
<button name="decision" value="approve">Approve</button>
<button name="decision" value="refuse">Refuse</button>
</form>"""


def of_owner(book: Book, charge: Row) -> HTMLResponse:
    """The owner's page of the charge: two buttons, or how it has ended and the way back to the shop."""
    found = charges.confirmation(book, charge["id"])
    back = escape(found["return_url"]) if found and found["return_url"] else ""
    content = f'<p><a href="{back}">Back to the shop</a></p>' if back else "<p>You may close this page.</p>"
    if charge["status"] == "pending":
        content = BUTTONS.format(order=escape(charge["order_id"] or "none: points are bought"))
    amount = escape(f"{charge['amount']:,} {charge['currency']}")
    text = PAGE.format(title=escape(TITLES[charge["status"]]), amount=amount, content=content)
    return HTMLResponse(text, headers={"Cache-Control": "no-store"})
