"""Webhooks that may not matter: repeated, too early, untrue, of unknown types, or forged."""

import json
import random
import threading
import time
import uuid
from contextlib import suppress
from typing import Any

from lab.chaos.calls import PASSING_CODES, Observations
from scripts.simulators import signatures
from scripts.stack import places, readiness
from scripts.stack.instance import Instance

TYPES = ("charge.succeeded", "charge.declined", "charge.refunded", "charge.pondered")
"""The last one is unknown to the shop."""
PAUSE_SECONDS = (0.05, 0.4)
PAGE = 500


class WebhookSender:
    """Sends webhooks in the gateway's place, with the secret that signs them; one thread's own."""

    def __init__(self, instance: Instance, *, seed: str, seen: Observations) -> None:
        self.instance = instance
        self.random = random.Random(seed)
        self.seen = seen
        self.secret = places.secret(instance.home, "webhook-secret-simulator")
        self.webhooks: list[Any] = []
        self.charges: list[Any] = []

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            # The gateway, the shop, or both may be away just now.
            with suppress(OSError):
                self._read_more("/webhooks", self.webhooks)
                self._read_more("/charges", self.charges)
                self.random.choice([self.repeat, self.send_untrue, self.send_forged])()
            time.sleep(self.random.uniform(*PAUSE_SECONDS))

    def repeat(self) -> None:
        """An event that the gateway has sent, or is about to send, with its id."""
        if self.webhooks:
            event = {**self.random.choice(self.webhooks)}
            for own in ("delivered_at", "is_given_up"):
                event.pop(own)
            self._post(event, self.secret, wanted=200)

    def send_untrue(self) -> None:
        """An event of a charge that may not be true, or not yet."""
        if self.charges:
            self._post(self._untrue_event(), self.secret, wanted=200)

    def send_forged(self) -> None:
        """Such an event, signed with another secret."""
        if self.charges:
            self._post(self._untrue_event(), "a guess", wanted=400)

    def _untrue_event(self) -> dict[str, Any]:
        # The latest ones are the likeliest to be under way.
        charge = self.random.choice([*self.charges, *self.charges[-5:]])
        data = {name: charge[name] for name in ("key", "order", "amount", "currency")}
        event_id = f"evt_{uuid.UUID(int=self.random.getrandbits(128)).hex}"
        kind = self.random.choice(TYPES)
        data |= {"charge": charge["id"], "currency": charge["currency"] or "KRW"}
        return {"id": event_id, "type": kind, "created_at": charge["created_at"], "data": data}

    def _read_more(self, path: str, known: list[Any]) -> None:
        """Read what a list of the gateway has more than is known."""
        after = f"&after={known[-1]['id']}" if known else ""
        status, text = readiness.ask(self.instance.gateway_port, "GET", f"{path}?limit={PAGE}{after}")
        if status == 200:
            known += json.loads(text)["results"]

    def _post(self, event: dict[str, Any], secret: str, *, wanted: int) -> None:
        body, began = json.dumps(event), time.monotonic()
        headers = {
            "Content-Type": "application/json",
            signatures.HEADER: signatures.header(secret, body.encode()),
        }
        path = "/api/v1/webhooks/simulator"
        status, text = readiness.ask(self.instance.port, "POST", path, body, headers)
        self.seen.count(f"webhook {status}", time.monotonic() - began)
        passes = status == 503 and any(code in text for code in PASSING_CODES)
        if status != wanted and not passes:
            self.seen.record_finding(
                f"webhook {event['type']} was answered {status} instead of {wanted}: {text}"
            )
