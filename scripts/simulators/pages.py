"""The gateway's page with two buttons, on which a card's owner confirms a charge: it stands for a bank's
3-D Secure page."""

from html import escape

from starlette.responses import HTMLResponse, RedirectResponse, Response

from scripts.simulators import charges
from scripts.simulators.books import Book, Row

DECISIONS = {"approve": None, "refuse": "authentication_failed"}
"""The buttons of the owner's page, and the failure of a charge that is ended by one."""
ENDS = {
    "succeeded": "The payment is confirmed.",
    "declined": "The payment is refused.",
    "cancelled": "The shop has cancelled the payment: nothing is charged.",
}
HEADERS = {"Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
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
{content}
</main></body>
</html>
"""
BUTTONS = """<p>{amount}</p>
<p>Order {order}. The gateway is a simulator: no bank is asked, and no money moves.</p>
<form method="post">
<button name="decision" value="approve">Approve</button>
<button name="decision" value="refuse">Refuse</button>
</form>"""


def of_owner(book: Book, charge: Row) -> Response:
    """The owner's page of the charge: two buttons, or how it has ended and the way back to the shop."""
    amount = escape(f"{charge['amount']:,} {charge['currency']}")
    if charge["status"] == "pending":
        order = charge["order_id"] or "none: points are bought"
        return _html("Confirm your payment", BUTTONS.format(amount=amount, order=escape(order)))
    found = charges.confirmation(book, charge["id"])
    back = escape(found["return_url"]) if found and found["return_url"] else ""
    link = f'<p><a href="{back}">Back to the shop</a></p>' if back else "<p>You may close this page.</p>"
    return _html(ENDS[charge["status"]], f"<p>{amount}</p>\n{link}")


def no_page() -> Response:
    return _html("There is no such payment.", "<p>Open the address that the shop gave you.</p>", status=404)


def no_decision() -> Response:
    content = "<p>Go back, and choose one of the two buttons.</p>"
    return _html("That was neither approved nor refused.", content, status=400)


def shown_again(path: str) -> Response:
    """After a form: the page is read again, so that a reload sends nothing twice."""
    return RedirectResponse(path, status_code=303, headers=HEADERS)


def _html(title: str, content: str, *, status: int = 200) -> Response:
    text = PAGE.format(title=escape(title), content=content)
    return HTMLResponse(text, status_code=status, headers=HEADERS)
