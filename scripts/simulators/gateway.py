"""The payment gateway simulator: charges, cancels and refunds by key, as its card tokens say.

python -m scripts.simulators.gateway --port 8001 --book var/gateway.sqlite3 --latency-ms 20

`POST /latency {"ms": 2600}` makes every call slow until `DELETE /latency`, or until the process ends; lists
without a key and the summary stay quick, for they are read by audits. No call needs a secret: it listens on
loopback unless `--host` says otherwise.

A charge of `tok_3ds` waits for its owner, who approves or refuses it on the page `GET /3ds/{charge}`, at the
address by which the shop reaches the gateway or at `--public-url`. After `--action-seconds` it is declined.

A charge is refunded, and disputed by its card's owner, without the shop by `POST /refunds`, `POST /disputes
{"charge": …, "amount": …}` and `POST /disputes/{id}/close {"status": "won" | "lost"}`. `POST
/refunds/{id}/fail` takes a refund back that had succeeded, as of a closed card. The shop gets a webhook about
each.
"""

import asyncio
import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from html import escape
from typing import Annotated, Literal
from urllib.parse import parse_qs

from pydantic import Field
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from scripts.simulators import books, charges, process, webhooks
from scripts.simulators.books import Book, Row, find, insert, new_id, now, written
from scripts.simulators.process import Answer, Cancellation, Handler, Refused, Routes, Served, no_reply

KEY = {"key": "key = ?"}
# The status of POST /charges for each status of a charge; a cancelled one is refused.
ANSWERS = {"succeeded": 201, "pending": 202, "declined": 402}
# The buttons of the owner's page, and the failure of a charge that is ended by one.
DECISIONS = {"approve": None, "refuse": "authentication_failed"}
TITLES = {
    "pending": "Confirm your payment",
    "succeeded": "The payment is confirmed.",
    "declined": "The payment is refused.",
    "cancelled": "The shop has cancelled the payment: nothing is charged.",
}
# It stands for a bank's 3-D Secure page.
PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 1.125rem/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 26rem; padding: 1.5rem; }}
button {{ font: inherit; min-height: 3rem; width: 100%; margin-bottom: 0.75rem; }}
</style></head>
<body><main><h1>{title}</h1><p class="amount">{amount}</p>{content}</main></body>
</html>
"""
BUTTONS = """<p>Order {order}. The gateway is a simulator: no bank is asked, and no money moves.</p>
<form method="post">
<button name="decision" value="approve">Approve</button>
<button name="decision" value="refuse">Refuse</button>
</form>"""
TOTALS = """
SELECT * FROM
    (SELECT coalesce(sum(amount), 0) AS charged_amount, count(*) AS charges
     FROM charges WHERE status = 'succeeded'),
    (SELECT coalesce(sum(amount), 0) AS refunded_amount, count(*) AS refunds
     FROM refunds WHERE id NOT IN (SELECT refund_id FROM refund_failures))
"""


class Decision(process.Body):
    status: Literal["won", "lost"]


class Latency(process.Body):
    ms: Annotated[float, Field(ge=0, le=60_000)]


@dataclass
class Gateway:
    """The open book, the options, the sender of webhooks, and the latency of every call if one is set."""

    book: Book
    options: Namespace
    sender: webhooks.Sender
    every_call_ms: float | None = None

    def routes(self) -> Routes:
        book = self.book
        delayed = self._delayed
        by_order = {"order": "order_id = ?", **books.PERIOD}
        by_charge = KEY | {"charge": "charge_id = ?"}
        charge_as_json = partial(charges.charge_as_json, book)
        list_charges = books.listing(book, "charges", KEY | {"id": "id = ?"} | by_order, charge_as_json)
        list_refunds = books.listing(book, "refunds", by_charge, partial(charges.refund_as_json, book))
        return {
            "GET /charges": delayed(list_charges, is_lookup=True),
            "POST /charges": delayed(self.charge, is_payment=True),
            "POST /charges/cancel": delayed(self.cancel),
            "GET /refunds": delayed(list_refunds, is_lookup=True),
            "POST /refunds": delayed(self.refund, is_payment=True),
            "POST /refunds/{refund}/fail": self.fail_refund,
            "POST /disputes": self.dispute,
            "POST /disputes/{dispute}/close": self.close_dispute,
            "GET /3ds/{charge}": self.owners_page,
            "POST /3ds/{charge}": self.decide,
            "GET /webhooks": books.listing(book, "webhooks", KEY, webhooks.as_json),
            "GET /summary": self.summary,
            "POST /latency": self.set_latency,
            "DELETE /latency": self.set_latency,
        }

    async def charge(self, request: Request) -> Answer:
        """Charge a card once per key; a repeated key gets the first outcome.

        A new charge of a slow card is pending until its time is over, or its owner decides.
        """
        key, asked = await process.keyed(request, charges.ChargeBody)
        card = charges.card(asked.token)
        row = None
        # Where the page leads back to is no part of what is charged.
        fields = asked.model_dump(exclude={"return_url"})
        with self.book:
            attempt = charges.count_attempt(self.book, kind="charge", key=key, asked=fields)
            known = find(self.book, "charges", key=key)
            if known is None and card.is_charged and attempt > card.failed_attempts:
                status = "declined" if card.failure else "succeeded"
                if card.seconds or card.is_confirmed:
                    status = "pending"
                fields["order_id"] = fields.pop("order")
                row = insert(
                    self.book,
                    "charges",
                    id=new_id("ch"),
                    key=key,
                    status=status,
                    failure=card.failure,
                    created_at=now(),
                    **fields,
                )
                if card.is_confirmed:
                    pages_at = self.options.public_url or f"http://{request.headers['host']}"
                    insert(
                        self.book,
                        "confirmations",
                        charge_id=row["id"],
                        url=f"{pages_at.rstrip('/')}/3ds/{row['id']}",
                        return_url=asked.return_url,
                    )
        if row and row["status"] == "pending":
            ending = process.in_background(self._end_in_time(row))
            row = await asyncio.shield(ending) if card.is_awaited else row
        row = row or known
        if row and row["status"] == "cancelled":
            charged = charges.charge_as_json(self.book, row)
            raise Refused(409, "key_cancelled", "This key was cancelled.", charge=charged)
        if not card.is_answered:
            return await no_reply()
        if row is None:
            raise Refused(500, "gateway_error", "The gateway failed; nothing was charged.")
        return Answer(ANSWERS[row["status"]], charges.charge_as_json(self.book, row))

    async def cancel(self, request: Request) -> Answer:
        """Make sure that no charge of the key is made any more.

        Where there is none yet, a cancelled one of amount 0 takes its place.
        """
        key = (await process.read(request, Cancellation)).key
        cancelling = "UPDATE charges SET status = 'cancelled' WHERE key = ? AND status = 'pending'"
        blank = {"id": new_id("ch"), "key": key, "status": "cancelled", "created_at": now()}
        with self.book:
            self.book.execute(cancelling, [key])
            row = find(self.book, "charges", key=key) or insert(self.book, "charges", amount=0, **blank)
        charge = charges.charge_as_json(self.book, row)
        if row["status"] == "succeeded":
            raise Refused(409, "already_charged", "This key has been charged: refund it.", charge=charge)
        return Answer(200, charge)

    async def refund(self, request: Request) -> Answer:
        key, asked = await process.keyed(request, charges.RefundBody)
        with self.book:
            attempt = charges.count_attempt(self.book, kind="refund", key=key, asked=asked.model_dump())
            row = find(self.book, "refunds", key=key)
            if row is None:
                charge = charges.existing(self.book, asked.charge)
                charges.require_left(self.book, charge, asked.amount, code="refund_exceeds_charge")
                if attempt > charges.card(charge["token"]).failed_refunds:
                    statement = "UPDATE charges SET refunded_amount = refunded_amount + ? WHERE id = ?"
                    self.book.execute(statement, [asked.amount, asked.charge])
                    row = insert(
                        self.book,
                        "refunds",
                        id=new_id("re"),
                        key=key,
                        charge_id=asked.charge,
                        amount=asked.amount,
                        created_at=now(),
                    )
                    webhooks.write(self.book, charge, type="charge.refunded", amount=asked.amount)
        if row is None:
            raise Refused(500, "gateway_error", "The gateway failed; nothing was refunded.")
        self.sender.send_undelivered()
        return Answer(201, charges.refund_as_json(self.book, row))

    async def fail_refund(self, request: Request) -> Answer:
        """Take the refund back, once, as the bank of the card's owner does that gives it back."""
        with self.book:
            row = find(self.book, "refunds", id=request.path_params["refund"])
            if row is None:
                raise Refused(404, "refund_not_found", "There is no refund of this id.")
            new = "INSERT OR IGNORE INTO refund_failures VALUES (?, ?)"
            if self.book.execute(new, [row["id"], now()]).rowcount:
                statement = "UPDATE charges SET refunded_amount = refunded_amount - ? WHERE id = ?"
                self.book.execute(statement, [row["amount"], row["charge_id"]])
                charge = charges.existing(self.book, row["charge_id"])
                webhooks.write(self.book, charge, type="refund.failed", amount=row["amount"], key=row["key"])
        self.sender.send_undelivered()
        return Answer(200, charges.refund_as_json(self.book, row))

    async def dispute(self, request: Request) -> Answer:
        key, asked = await process.keyed(request, charges.DisputeBody)
        with self.book:
            row = find(self.book, "disputes", key=key)
            if row is None:
                charge = charges.existing(self.book, asked.charge)
                code = "dispute_exceeds_charge"
                amount = charges.require_left(self.book, charge, asked.amount, code=code)
                # So long the shop has for its answer, which the simulator doesn't take.
                due_at = written(datetime.now(UTC) + timedelta(days=7))
                row = insert(
                    self.book,
                    "disputes",
                    id=new_id("dp"),
                    key=key,
                    charge_id=charge["id"],
                    amount=amount,
                    status="open",
                    due_at=due_at,
                    created_at=now(),
                )
                webhooks.write(self.book, charge, type="charge.disputed", amount=amount)
        self.sender.send_undelivered()
        return Answer(201, charges.dispute_as_json(self.book, row))

    async def close_dispute(self, request: Request) -> Answer:
        decided = (await process.read(request, Decision)).status
        dispute_id = request.path_params["dispute"]
        statement = "UPDATE disputes SET status = ? WHERE id = ? AND status = 'open' RETURNING *"
        with self.book:
            for ended in self.book.execute(statement, [decided, dispute_id]).fetchall():
                charge = charges.existing(self.book, ended["charge_id"])
                webhooks.write(self.book, charge, type="dispute.closed", amount=ended["amount"])
            row = find(self.book, "disputes", id=dispute_id)
        if row is None:
            raise Refused(404, "dispute_not_found", "There is no dispute of this id.")
        if row["status"] != decided:
            raise Refused(409, "dispute_closed", f"The dispute has ended: it is {row['status']}.")
        self.sender.send_undelivered()
        return Answer(200, charges.dispute_as_json(self.book, row))

    async def owners_page(self, request: Request) -> Response:
        """Two buttons, or how the charge has ended and the way back to the shop."""
        charge = charges.existing(self.book, request.path_params["charge"])
        content = "<p>You may close this page.</p>"
        found = charges.confirmation(self.book, charge["id"])
        if charge["status"] == "pending":
            order = escape(charge["order_id"] or "none: points are bought")
            content = BUTTONS.format(order=order)
        elif found and found["return_url"]:
            content = f'<p><a href="{escape(found["return_url"])}">Back to the shop</a></p>'
        amount = escape(f"{charge['amount']:,} {charge['currency']}")
        text = PAGE.format(title=TITLES[charge["status"]], amount=amount, content=content)
        return HTMLResponse(text, headers={"Cache-Control": "no-store"})

    async def decide(self, request: Request) -> Response:
        """End the charge as its owner says; one that has ended stays as it is."""
        charge = charges.existing(self.book, request.path_params["charge"])
        [decision, *_] = parse_qs((await request.body()).decode("latin-1")).get("decision", [""])
        if decision not in DECISIONS:
            raise process.invalid("decision", f"it is one of {', '.join(DECISIONS)}")
        charges.end(self.book, charge["id"], failure=DECISIONS[decision])
        self.sender.send_undelivered()
        # The page is read again, so that a reload sends nothing twice.
        return RedirectResponse(f"/3ds/{charge['id']}", status_code=303)

    async def summary(self, request: Request) -> Answer:
        return Answer(200, dict(self.book.execute(TOTALS).fetchone()))

    async def set_latency(self, request: Request) -> Answer:
        """Make every call take so long from now on, or the usual time again; calls under way keep theirs."""
        is_set = request.method == "POST"
        self.every_call_ms = (await process.read(request, Latency)).ms if is_set else None
        return Answer(200, {"ms": self.every_call_ms, "configured_ms": self.options.latency_ms})

    def resume(self) -> None:
        """Continue with the charges that the process before this one left pending, and with its webhooks."""
        for row in books.rows(self.book, "charges", {"status = ?": "pending"}):
            process.in_background(self._end_in_time(row))
        self.sender.send_undelivered()

    async def _end_in_time(self, row: Row) -> Row:
        """The charge once its card has charged it, or its owner has not confirmed it in time."""
        card = charges.card(row["token"])
        left_seconds = max(0.0, self.options.action_seconds - books.age_seconds(row))
        await asyncio.sleep(left_seconds if card.is_confirmed else card.seconds)
        failure = None
        if card.is_confirmed:
            failure = "authentication_expired"
        ended = charges.end(self.book, row["id"], failure=failure) or row
        self.sender.send_undelivered()
        return ended

    def _delayed(self, handler: Handler, *, is_payment: bool = False, is_lookup: bool = False) -> Handler:
        """The handler with half of its latency before it, the way there, and half after it, refused or not.

        A payment has the configured one where none is set for every call; a lookup without a key has none.
        """

        async def answer(request: Request) -> Response:
            usual = 0
            if is_payment:
                usual = self.options.latency_ms
            is_quick = is_lookup and not request.query_params.get("key")
            half = 0 if is_quick else (usual if self.every_call_ms is None else self.every_call_ms) / 2000
            await asyncio.sleep(half)
            try:
                return await handler(request)
            finally:
                await asyncio.sleep(half)

        return answer


def build(words: Sequence[str] | None = None) -> Served:
    """The application that these words of the command line ask for, and they themselves."""
    parser = process.arguments("gateway", 8001)
    given = os.environ.get
    means = "how long POST /charges and POST /refunds take at least"
    parser.add_argument("--latency-ms", type=float, default=given("GATEWAY_LATENCY_MS", "20"), help=means)
    parser.add_argument("--webhook-url", default="", help="where webhooks are sent; nowhere without one")
    means = "how long a charge waits for its owner, before it is declined"
    parser.add_argument("--action-seconds", type=float, default=3600, help=means)
    means = "where browsers reach this gateway; without one, where the shop does"
    parser.add_argument("--public-url", default=given("GATEWAY_PUBLIC_URL", ""), help=means)
    options = parser.parse_args(words)
    secret = given("WEBHOOK_SECRET_SIMULATOR", "")
    if options.webhook_url and not secret:
        sys.exit("gateway: webhooks need a secret to be signed with; set WEBHOOK_SECRET_SIMULATOR")
    book = books.open_book(options.book, charges.SCHEMA + webhooks.SCHEMA)
    gateway = Gateway(book, options, webhooks.Sender(book, url=options.webhook_url, secret=secret))
    return process.application(gateway.routes(), book, gateway.resume), options


if __name__ == "__main__":
    process.main(build)
