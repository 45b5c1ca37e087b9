"""The payment gateway simulator: charges, cancels and refunds by key, as its card tokens say.

python -m scripts.simulators.gateway --port 8001 --book var/gateway.sqlite3 --latency-ms 20

`POST /latency {"ms": 2600}` makes every call slow while the process runs: charges, cancels, refunds and the
lists of one key take so long until `DELETE /latency`, or until the process ends. Lists without a key and the
summary stay quick, for they are read by audits. The control calls need no secret, as no call does:
it listens on loopback unless `--host` says otherwise.

A charge of `tok_3ds` waits for its owner, who approves or refuses it on the page `GET /3ds/{charge}`, at the
address by which the shop reaches the gateway or at `--public-url`. After `--action-seconds` it is declined.

`GET /dashboard` leads to a page for each charge, where it is refunded and disputed, as by `POST /refunds`,
`POST /disputes {"charge": …, "amount": …}` and `POST /disputes/{id}/close {"status": "won" | "lost"}`. The
shop gets a webhook about each.
"""

import asyncio
import os
from argparse import Namespace
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Annotated
from urllib.parse import parse_qs

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from scripts.simulators import (
    books,
    cards,
    charges,
    confirmations,
    dashboard,
    disputes,
    process,
    webhooks,
)
from scripts.simulators.books import Book, Row
from scripts.simulators.process import Answer, Handler, NoReply, Refused, Routes, Text

LONGEST_LATENCY_MS = 60_000
LONGEST_ACTION_SECONDS = 86_400
SHORT_FORM = 1_000
"""No more bytes than the form of a decision needs."""
KEY = {"key": "key = ?"}
ANSWERS = {"succeeded": 201, "pending": 202, "declined": 402}
"""The status of POST /charges for each status of a charge; a cancelled one is refused."""


class Cancellation(process.Body):
    key: Text


class Latency(process.Body):
    ms: Annotated[float, Field(ge=0, le=LONGEST_LATENCY_MS)]


class Gateway:
    """The open book, the latencies, and the sender of webhooks."""

    def __init__(
        self,
        book: Book,
        *,
        latency_ms: float,
        sender: webhooks.Sender | None,
        action_seconds: float,
        public_url: str,
    ):
        self.book = book
        self.sender = sender
        self.action_seconds = action_seconds
        self.public_url = public_url
        self.configured_latency_ms = latency_ms
        self.every_call_ms: float | None = None

    def routes(self) -> Routes:
        """Every path and method of the gateway."""
        by_order, by_charge = {"order": "order_id = ?", **books.PERIOD}, {"charge": "charge_id = ?"}
        as_json = partial(charges.charge_as_json, self.book)
        list_charges = books.listing(self.book, "charges", KEY | by_order, as_json)
        list_refunds = books.listing(self.book, "refunds", KEY | by_charge, charges.refund_as_json)
        return {
            "/charges": {
                "GET": _delayed(list_charges, self._lookup_latency_ms),
                "POST": _delayed(self.charge, self._payment_latency_ms),
            },
            "/charges/cancel": {"POST": _delayed(self.cancel, self._cancel_latency_ms)},
            "/refunds": {
                "GET": _delayed(list_refunds, self._lookup_latency_ms),
                "POST": _delayed(self.refund, self._payment_latency_ms),
            },
            "/disputes": {
                "GET": books.listing(
                    self.book, "disputes", KEY | by_charge, partial(disputes.as_json, self.book)
                ),
                "POST": self.dispute,
            },
            "/disputes/{dispute}/close": {"POST": self.close_dispute},
            "/dashboard": {"GET": self.newest_charges},
            "/dashboard/{charge}": {"GET": self.charge_page, "POST": self.act_on_charge},
            "/3ds/{charge}": {"GET": self.confirmation, "POST": self.decide},
            "/webhooks": {"GET": books.listing(self.book, "webhooks", KEY, webhooks.as_json)},
            "/summary": {"GET": self.summary},
            "/latency": {"GET": self.latency, "POST": self.set_latency, "DELETE": self.reset_latency},
        }

    async def charge(self, request: Request) -> Answer:
        """Charge a card once per key; a repeated key gets the first outcome."""
        key = process.idempotency_key(request)
        asked = await process.read(request, charges.ChargeBody)
        card = cards.card(asked.token)
        pages_at = self.public_url or f"http://{request.headers['host']}"
        row, is_new = charges.charge(self.book, key=key, asked=asked, pages_at=pages_at)
        if row and is_new and row["status"] == "pending":
            settling = process.in_background(self._settle(row))
            row = await asyncio.shield(settling) if card.is_awaited else row
        if row and row["status"] == "cancelled":
            charged = charges.charge_as_json(self.book, row)
            raise Refused(409, "key_cancelled", "This key was cancelled.", charge=charged)
        if not card.is_answered:
            return NoReply()
        if row is None:
            raise Refused(500, "gateway_error", "The gateway failed; nothing was charged.")
        return Answer(ANSWERS[row["status"]], charges.charge_as_json(self.book, row))

    async def cancel(self, request: Request) -> Answer:
        """Make sure that no charge of the key is made any more."""
        asked = await process.read(request, Cancellation)
        return Answer(200, charges.charge_as_json(self.book, charges.cancel(self.book, key=asked.key)))

    async def confirmation(self, request: Request) -> Response:
        """The page on which the card's owner approves or refuses a charge."""
        row = charges.by_id(self.book, request.path_params["charge"])
        return confirmations.page(self.book, row) if row else confirmations.no_page()

    async def decide(self, request: Request) -> Response:
        """End the charge as its owner says; one that has ended stays as it is."""
        charge_id = request.path_params["charge"]
        form = parse_qs((await process.read_body(request, largest=SHORT_FORM)).decode("latin-1"))
        [decision, *_] = form.get("decision", [""])
        if decision not in confirmations.DECISIONS:
            return confirmations.refused_decision()
        if charges.confirm(self.book, charge_id, failure=confirmations.DECISIONS[decision]) is None:
            return confirmations.no_page()
        self._send_webhooks()
        return confirmations.show_again(charge_id)

    async def refund(self, request: Request) -> Answer:
        """Refund some of a charge, once per key."""
        key = process.idempotency_key(request)
        asked = await process.read(request, charges.RefundBody)
        refunded = charges.refund(self.book, key=key, asked=asked)
        if refunded is None:
            raise Refused(500, "gateway_error", "The gateway failed; nothing was refunded.")
        self._send_webhooks()
        return Answer(201, charges.refund_as_json(refunded))

    async def dispute(self, request: Request) -> Answer:
        """Dispute a charge as its card's owner, once per key."""
        key = process.idempotency_key(request)
        asked = await process.read(request, disputes.DisputeBody)
        opened = disputes.open_dispute(self.book, key=key, asked=asked)
        self._send_webhooks()
        return Answer(201, disputes.as_json(self.book, opened))

    async def close_dispute(self, request: Request) -> Answer:
        """End a dispute as the owner's bank decides."""
        asked = await process.read(request, disputes.CloseBody)
        closed = disputes.close(self.book, request.path_params["dispute"], asked=asked)
        self._send_webhooks()
        return Answer(200, disputes.as_json(self.book, closed))

    async def newest_charges(self, request: Request) -> Response:
        """The page of the newest charges."""
        return dashboard.page_of_newest(self.book)

    async def charge_page(self, request: Request) -> Response:
        """The page on which a charge is refunded and disputed."""
        row = charges.by_id(self.book, request.path_params["charge"])
        return dashboard.page(self.book, row) if row else confirmations.no_page()

    async def act_on_charge(self, request: Request) -> Response:
        """Do what a form of that page says."""
        body = await process.read_body(request, largest=SHORT_FORM)
        form = {name: values[0] for name, values in parse_qs(body.decode("latin-1")).items()}
        row = charges.by_id(self.book, request.path_params["charge"])
        if row is None:
            return confirmations.no_page()
        answer = dashboard.act(self.book, row, form)
        self._send_webhooks()
        return answer

    async def summary(self, request: Request) -> Answer:
        """What was charged and refunded in all."""
        return Answer(200, charges.totals(self.book))

    async def latency(self, request: Request) -> Answer:
        """What every call takes at least, or null; and what charges and refunds take otherwise."""
        return Answer(200, {"ms": self.every_call_ms, "configured_ms": self.configured_latency_ms})

    async def set_latency(self, request: Request) -> Answer:
        """Make every call take so long from now on; calls under way keep the latency they began with."""
        self.every_call_ms = (await process.read(request, Latency)).ms
        return await self.latency(request)

    async def reset_latency(self, request: Request) -> Answer:
        """Go back to the latency of the command line."""
        self.every_call_ms = None
        return await self.latency(request)

    def resume(self) -> None:
        """Continue with the charges that the process before this one left pending, and with its webhooks."""
        for row in charges.pending(self.book):
            process.in_background(self._settle(row))
        self._send_webhooks()

    async def _settle(self, row: Row) -> Row:
        card = cards.card(row["token"])
        if card.is_confirmed:
            age = datetime.now(UTC) - datetime.fromisoformat(row["created_at"])
            await asyncio.sleep(max(0.0, self.action_seconds - age.total_seconds()))
            settled = charges.confirm(self.book, row["id"], failure="authentication_expired") or row
        else:
            await asyncio.sleep(card.seconds)
            settled = charges.settle(self.book, row)
        self._send_webhooks()
        return settled

    def _send_webhooks(self) -> None:
        if self.sender:
            self.sender.send_undelivered()

    def _payment_latency_ms(self, request: Request) -> float:
        return self.configured_latency_ms if self.every_call_ms is None else self.every_call_ms

    def _cancel_latency_ms(self, request: Request) -> float:
        return self.every_call_ms or 0

    def _lookup_latency_ms(self, request: Request) -> float:
        return self.every_call_ms or 0 if request.query_params.get("key") else 0


def _delayed(handler: Handler, latency_ms: Callable[[Request], float]) -> Handler:
    """The handler with half of the latency before it, the way there, and half after it, refused or not."""

    async def answer(request: Request) -> Response:
        half_seconds = latency_ms(request) / 1000 / 2
        await asyncio.sleep(half_seconds)
        try:
            return await handler(request)
        finally:
            await asyncio.sleep(half_seconds)

    return answer


def build(words: Sequence[str] | None = None) -> tuple[process.Server, Namespace]:
    """The server that these words of the command line ask for, and they themselves."""
    parser = process.arguments("gateway", default_port=8001)
    variable, means = "GATEWAY_LATENCY_MS", "how long POST /charges and POST /refunds take at least"
    process.add_number(parser, "--latency-ms", variable, "20", most=LONGEST_LATENCY_MS, means=means)
    means = "where the end of a charge is sent that came after its answer (WEBHOOK_URL, else nowhere)"
    parser.add_argument("--webhook-url", default=os.environ.get("WEBHOOK_URL", ""), help=means)
    means = "how long a charge waits for its owner, before it is declined"
    process.add_number(parser, "--action-seconds", "", "3600", most=LONGEST_ACTION_SECONDS, means=means)
    means = "where browsers reach this gateway (GATEWAY_PUBLIC_URL, else where the shop reaches it)"
    parser.add_argument("--public-url", default=os.environ.get("GATEWAY_PUBLIC_URL", ""), help=means)
    asked = parser.parse_args(words)
    secret = os.environ.get("WEBHOOK_SECRET_SIMULATOR", "")
    if asked.webhook_url and not secret:
        process.fail("gateway", "webhooks need a secret to be signed with; set WEBHOOK_SECRET_SIMULATOR")
    schema = charges.SCHEMA + confirmations.SCHEMA + disputes.SCHEMA + webhooks.SCHEMA
    book = books.open_book("gateway", asked.book, schema)
    sender = webhooks.Sender(book, url=asked.webhook_url, secret=secret) if asked.webhook_url else None
    gateway = Gateway(
        book,
        latency_ms=asked.latency_ms,
        sender=sender,
        action_seconds=asked.action_seconds,
        public_url=asked.public_url,
    )
    return process.Server("gateway", gateway.routes(), book, gateway.resume), asked


def main() -> None:
    server, asked = build()
    server.serve_forever(asked.host, asked.port)


if __name__ == "__main__":
    main()
