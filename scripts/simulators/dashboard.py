"""The gateway's own pages, as a clerk of the shop knows them: refunds and disputes that begin there."""

from collections.abc import Mapping
from html import escape

from pydantic import ValidationError
from starlette.responses import RedirectResponse, Response

from scripts.simulators import charges, confirmations, disputes
from scripts.simulators.books import Book, Row, new_id
from scripts.simulators.process import Refused

NEWEST = 50
FORM = """<form method="post"><input type="hidden" name="action" value="{action}">{more}
<button name="value" value="{value}">{text}</button></form>"""
AMOUNT = """<label>Amount, all that is left without one <input name="amount" inputmode="numeric"></label>"""


def page_of_newest(book: Book) -> Response:
    """The newest charges, each with a link to its page."""
    rows = book.execute("SELECT * FROM charges ORDER BY number DESC LIMIT ?", [NEWEST]).fetchall()
    links = [f'<li><a href="/dashboard/{row["id"]}">{escape(_in_words(row))}</a></li>' for row in rows]
    return confirmations.html("Charges", f"<ul>{''.join(links)}</ul>" if links else "<p>There is none.</p>")


def page(book: Book, charge: Row, refusal: str = "") -> Response:
    """The page of a charge, with the forms for what may be done to it."""
    left = disputes.left_amount(book, charge)
    parts = [f'<p class="amount">{escape(_in_words(charge))}</p>']
    if refusal:
        parts.append(f"<p><strong>{escape(refusal)}</strong></p>")
    parts.append(f"<p>{charge['refunded_amount']:,} refunded, {left:,} left. Order {charge['order_id']}.</p>")
    if left:
        parts.append(FORM.format(action="refund", more=AMOUNT, value="", text="Refund"))
        parts.append(FORM.format(action="dispute", more=AMOUNT, value="", text="Dispute, as the owner"))
    for dispute in disputes.of_charge(book, charge["id"]):
        parts.append(f"<p>Dispute of {dispute['amount']:,}: {dispute['status']}.</p>")
        if dispute["status"] == "open":
            which = f'<input type="hidden" name="dispute" value="{dispute["id"]}">'
            for status in ("won", "lost"):
                parts.append(
                    FORM.format(action="close", more=which, value=status, text=f"The shop has {status} it")
                )
    parts.append('<p><a href="/dashboard">All charges</a></p>')
    return confirmations.html("Charge", "\n".join(parts), status=409 if refusal else 200)


def act(book: Book, charge: Row, form: Mapping[str, str]) -> Response:
    """Do what a form of the charge's page says, and show the page again."""
    try:
        amount = int(form["amount"]) if form.get("amount") else disputes.left_amount(book, charge)
        match form.get("action"):
            case "refund":
                asked = charges.RefundBody(charge=charge["id"], amount=amount)
                charges.refund(book, key=new_id("dashboard"), asked=asked)
            case "dispute":
                begun = disputes.DisputeBody(charge=charge["id"], amount=amount)
                disputes.open_dispute(book, key=new_id("dashboard"), asked=begun)
            case "close":
                decision = disputes.CloseBody.model_validate({"status": form.get("value")})
                disputes.close(book, form.get("dispute", ""), asked=decision)
            case _:
                return page(book, charge, "Choose one of the buttons.")
    except Refused as error:
        return page(book, charge, str(error))
    except (ValueError, ValidationError):
        return page(book, charge, "Give an amount in digits.")
    return RedirectResponse(f"/dashboard/{charge['id']}", status_code=303, headers=confirmations.HEADERS)


def _in_words(charge: Row) -> str:
    return f"{charge['amount']:,} {charge['currency'] or ''} {charge['status']}, {charge['key']}"
