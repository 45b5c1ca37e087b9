"""The gateway's outbox: how a charge ended after its answer, refunds and disputes, sent until accepted.

An event is written with what it tells, in one transaction, so neither is ever without the other. A signature
says that these bytes were sent just now by a sender with the secret.
"""

import asyncio
import hmac
import random
import re
import time
from http.client import HTTPException
from urllib.request import ProxyHandler, Request, build_opener

import orjson

from scripts.simulators import process
from scripts.simulators.books import Book, Row, age_seconds, insert, new_id, now
from scripts.simulators.process import Json

SCHEMA = """
CREATE TABLE IF NOT EXISTS webhooks (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, key TEXT NOT NULL,
    body BLOB NOT NULL, created_at TEXT NOT NULL, delivered_at TEXT
);
"""
# How long one event is tried: a shop that was down for longer has looked the key up meanwhile.
GIVE_UP_SECONDS = 600
HEADER = "Firstcome-Signature"
TOLERANCE_SECONDS = 300
FORM = re.compile(r"t=([0-9]{1,15})((,v1=[0-9a-f]{64}){1,5})")
SHORTEST_PAUSE = 0.25
LONGEST_PAUSE = 15.0


def header(secret: str, body: bytes) -> str:
    seconds = int(time.time())
    return f"t={seconds},v1={_digest(secret, seconds, body)}"


def is_valid(secret: str, body: bytes, text: str) -> bool:
    """Whether the header was made of the body with the secret, not long ago; one `v1` that fits is enough."""
    read = FORM.fullmatch(text)
    if read is None or abs(time.time() - int(read[1])) > TOLERANCE_SECONDS:
        return False
    expected = _digest(secret, int(read[1]), body)
    return any(hmac.compare_digest(expected, one) for one in read[2].split(",v1=")[1:])


def _digest(secret: str, seconds: int, body: bytes) -> str:
    return hmac.new(secret.encode(), b"%d.%b" % (seconds, body), "sha256").hexdigest()


def write(book: Book, charge: Row, *, type: str = "", amount: int | None = None, key: str = "") -> None:
    """Put an event about a charge into the outbox, in the transaction that changes it.

    Its type is by the charge's status unless one is given, with the amount and key that the event is about.
    """
    data = {"key": key or charge["key"], "amount": charge["amount"] if amount is None else amount}
    data |= {"currency": charge["currency"], "charge": charge["id"], "order": charge["order_id"]}
    event = {"id": new_id("evt"), "created_at": now()}
    body = orjson.dumps({**event, "type": type or f"charge.{charge['status']}", "data": data})
    insert(book, "webhooks", key=charge["key"], body=body, **event)


class Sender:
    """Posts what is in the outbox to one address, if any, each event on its own, with backoff until a 2xx."""

    def __init__(self, book: Book, *, url: str, secret: str):
        self.book = book
        self.url = url
        self.secret = secret
        self.sending: set[str] = set()
        # No proxy of the environment.
        self.opener = build_opener(ProxyHandler({}))

    def send_undelivered(self) -> None:
        """Start to send every event that was neither delivered nor given up, and isn't under way."""
        if not self.url:
            return
        for row in self.book.execute("SELECT * FROM webhooks WHERE delivered_at IS NULL").fetchall():
            if row["id"] not in self.sending and age_seconds(row) < GIVE_UP_SECONDS:
                self.sending.add(row["id"])
                process.in_background(self._send(row))

    async def _send(self, row: Row) -> None:
        pause = SHORTEST_PAUSE
        is_delivered = False
        while not is_delivered and age_seconds(row) < GIVE_UP_SECONDS:
            is_delivered = await asyncio.to_thread(self._post, row["body"])
            if is_delivered:
                with self.book:
                    self.book.execute("UPDATE webhooks SET delivered_at = ? WHERE id = ?", [now(), row["id"]])
            else:
                await asyncio.sleep(pause * random.uniform(0.5, 1))
                pause = min(2 * pause, LONGEST_PAUSE)
        self.sending.discard(row["id"])

    def _post(self, body: bytes) -> bool:
        headers = {"Content-Type": "application/json", HEADER: header(self.secret, body)}
        try:
            self.opener.open(Request(self.url, body, headers), timeout=5).close()
        except (OSError, HTTPException):  # a status beyond 2xx too
            return False
        return True


def as_json(row: Row) -> Json:
    """The event as it is sent, when it was delivered, and whether it is not sent any more."""
    is_given_up = row["delivered_at"] is None and age_seconds(row) >= GIVE_UP_SECONDS
    return {**orjson.loads(row["body"]), "delivered_at": row["delivered_at"], "is_given_up": is_given_up}
