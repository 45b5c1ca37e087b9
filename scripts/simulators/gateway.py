"""The payment gateway simulator: charges, cancels and refunds by key, as its card tokens say.

python -m scripts.simulators.gateway --port 8001 --book var/gateway.sqlite3 --latency-ms 20

`POST /latency {"ms": 2600}` makes every call slow while the process runs: charges, cancels, refunds and the
lists of one key take so long until `DELETE /latency`, or until the process ends. Lists without a key and the
summary stay quick, for they are read by audits. The control calls need no secret, as no call does:
it listens on loopback unless `--host` says otherwise.
"""

import asyncio
import os
from collections.abc import Callable
from typing import Annotated

from pydantic import Field
from starlette.requests import Request

from scripts.simulators import books, cards, charges, http, process, refunds, webhooks
from scripts.simulators.books import Book, Row
from scripts.simulators.http import Amount, Answer, Handler, NoReply, Refused, Routes, Text, application

LONGEST_LATENCY_MS = 60_000

ANSWERS = {"succeeded": 201, "pending": 202, "declined": 402}
"""The status of POST /charges for each status of a charge; a cancelled one is refused."""


class Cancellation(http.Body):
    key: Text


class Refund(http.Body):
    charge: Text
    amount: Amount


class Latency(http.Body):
    ms: Annotated[float, Field(ge=0, le=LONGEST_LATENCY_MS)]


class Gateway:
    """The open book, how far away the gateway is, the slow charges under way, and whom webhooks go to."""

    def __init__(self, book: Book, *, latency_ms: float, sender: webhooks.Sender | None):
        self.book = book
        self.sender = sender
        self.configured_latency_ms = latency_ms
        self.every_call_ms: float | None = None
        self.settling: set[asyncio.Task[Row]] = set()

    def routes(self) -> Routes:
        """Every path and method of the gateway."""
        return {
            "/charges": {
                "GET": _delayed(self.list_charges, self._lookup_latency_ms),
                "POST": _delayed(self.charge, self._payment_latency_ms),
            },
            "/charges/cancel": {"POST": _delayed(self.cancel, self._cancel_latency_ms)},
            "/refunds": {
                "GET": _delayed(self.list_refunds, self._lookup_latency_ms),
                "POST": _delayed(self.refund, self._payment_latency_ms),
            },
            "/webhooks": {"GET": self.list_webhooks},
            "/summary": {"GET": self.summary},
            "/latency": {"GET": self.latency, "POST": self.set_latency, "DELETE": self.reset_latency},
        }

    async def charge(self, request: Request) -> Answer:
        """Charge a card once per key; a repeated key hears the first outcome."""
        key = http.idempotency_key(request)
        asked = await http.read(request, charges.Asked)
        cards.card(asked.token)
        charged = charges.charge(self.book, key=key, asked=asked)
        row = charged.row if charged else None
        if charged and charged.is_new and charged.row["status"] == "pending":
            settling = self._settle(charged.row)
            row = await asyncio.shield(settling) if cards.card(asked.token).is_awaited else row
        if row and row["status"] == "cancelled":
            raise Refused(409, "key_cancelled", "This key was cancelled.", charge=charges.as_json(row))
        if not cards.card(asked.token).is_answered:
            return NoReply()
        if row is None:
            raise Refused(500, "gateway_error", "The gateway failed; nothing was charged.")
        return Answer(ANSWERS[row["status"]], charges.as_json(row))

    async def cancel(self, request: Request) -> Answer:
        """See to it that no charge of the key can land any more."""
        asked = await http.read(request, Cancellation)
        return Answer(200, charges.as_json(charges.cancel(self.book, key=asked.key)))

    async def refund(self, request: Request) -> Answer:
        """Give back some of a charge, once per key."""
        key = http.idempotency_key(request)
        asked = await http.read(request, Refund)
        refunded = refunds.refund(self.book, key=key, charge_id=asked.charge, amount=asked.amount)
        if refunded is None:
            raise Refused(500, "gateway_error", "The gateway failed; nothing was refunded.")
        return Answer(201, refunds.as_json(refunded))

    async def list_charges(self, request: Request) -> Answer:
        """The charges of a key, of an order, of a period, or all."""
        filters, as_json = {"key": "key", "order": "order_id"}, charges.as_json
        return books.listed(
            self.book, request, table="charges", filters=filters, as_json=as_json, has_period=True
        )

    async def list_refunds(self, request: Request) -> Answer:
        """The refunds of a key, of a charge, or all."""
        filters = {"key": "key", "charge": "charge_id"}
        return books.listed(self.book, request, table="refunds", filters=filters, as_json=refunds.as_json)

    async def list_webhooks(self, request: Request) -> Answer:
        """What was told, or is being told, of the charge of a key, or of all."""
        filters = {"key": "key"}
        return books.listed(self.book, request, table="webhooks", filters=filters, as_json=webhooks.as_json)

    async def summary(self, request: Request) -> Answer:
        """What was charged and refunded in all."""
        charged, charged_amount = charges.total(self.book)
        refunded, refunded_amount = refunds.total(self.book)
        content = {"charged_amount": charged_amount, "refunded_amount": refunded_amount}
        return Answer(200, {**content, "charges": charged, "refunds": refunded})

    async def latency(self, request: Request) -> Answer:
        """What every call takes at least, or null; and what charges and refunds take otherwise."""
        return Answer(200, {"ms": self.every_call_ms, "configured_ms": self.configured_latency_ms})

    async def set_latency(self, request: Request) -> Answer:
        """Make every call take so long from now on; calls under way keep the latency they began with."""
        self.every_call_ms = (await http.read(request, Latency)).ms
        return await self.latency(request)

    async def reset_latency(self, request: Request) -> Answer:
        """Go back to the latency of the command line."""
        self.every_call_ms = None
        return await self.latency(request)

    def resume(self) -> None:
        """Go on with the charges that the process before this one left pending, and with its webhooks."""
        for row in charges.pending(self.book):
            self._settle(row)
        self._tell()

    def _settle(self, row: Row) -> asyncio.Task[Row]:
        """Start to settle a slow charge, which goes on when its client leaves."""
        task = asyncio.ensure_future(self._settle_slowly(row))
        # The event loop alone would let the task be collected half-way.
        self.settling.add(task)
        task.add_done_callback(self.settling.discard)
        return task

    async def _settle_slowly(self, row: Row) -> Row:
        await asyncio.sleep(cards.card(row["token"]).seconds)
        settled = charges.settle(self.book, key=row["key"])
        self._tell()
        return settled

    def _tell(self) -> None:
        if self.sender:
            self.sender.send_what_waits()

    def _payment_latency_ms(self, request: Request) -> float:
        return self.configured_latency_ms if self.every_call_ms is None else self.every_call_ms

    def _cancel_latency_ms(self, request: Request) -> float:
        return self.every_call_ms or 0

    def _lookup_latency_ms(self, request: Request) -> float:
        return self.every_call_ms or 0 if request.query_params.get("key") else 0


def _delayed(handler: Handler, latency_ms: Callable[[Request], float]) -> Handler:
    """The handler with half of the latency before it, the way there, and half after it, refused or not."""

    async def answer(request: Request) -> Answer:
        half_seconds = latency_ms(request) / 1000 / 2
        if not half_seconds:
            return await handler(request)
        await asyncio.sleep(half_seconds)
        try:
            answer = await handler(request)
        except Refused as refused:
            answer = refused.answer
        await asyncio.sleep(half_seconds)
        return answer

    return answer


def main() -> None:
    """Run the gateway until it is told to end."""
    parser = process.arguments("gateway", default_port=8001)
    variable, means = "GATEWAY_LATENCY_MS", "how long POST /charges and POST /refunds take at least"
    process.add_number(parser, "--latency-ms", variable, "20", most=LONGEST_LATENCY_MS, means=means)
    parser.add_argument(
        "--webhook-url",
        default=os.environ.get("WEBHOOK_URL", ""),
        help="who is told of a charge that ended after its answer (WEBHOOK_URL, else nobody)",
    )
    asked = parser.parse_args()
    secret = os.environ.get("WEBHOOK_SECRET_SIMULATOR", "")
    if asked.webhook_url and not secret:
        process.fail("gateway", "webhooks need a secret to be signed with; set WEBHOOK_SECRET_SIMULATOR")
    book = process.open_book("gateway", asked.book, charges.SCHEMA + refunds.SCHEMA + webhooks.SCHEMA)
    sender = webhooks.Sender(book, url=asked.webhook_url, secret=secret) if asked.webhook_url else None
    gateway = Gateway(book, latency_ms=asked.latency_ms, sender=sender)
    app = application(gateway.routes())
    process.serve(app, name="gateway", asked=asked, book=book, on_start=gateway.resume)


if __name__ == "__main__":
    main()
