"""Every example of the OpenAPI document, by one session with the running shop.

`shop/api_examples.json` has the calls of the session in their order, each with what is sent and what is
answered. Ids, tokens, secrets and instants differ from run to run: they are named in the order in which they
appear, and the real ones are sent in the place of their names.
`EXAMPLES=write pytest shop/tests/test_api_examples.py` writes what is answered, and samples of code for the
first success of each call; then `make generate`.
"""

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
from django.contrib.auth.models import User

from accounts.tests.clients import client_of
from coupons.queue import worker
from coupons.tests.factories import CampaignFactory, coupon_of
from foundation import clock
from foundation.http.json_format import dump
from foundation.tests import openapi_document
from foundation.tests.factories import SuperuserFactory
from inventory.models import Product
from inventory.tests.factories import ProductFactory
from orders.saga import run
from orders.tests import buying, stepping
from payments.tests import events
from scripts.stack import places
from shop.tests import code_samples

FILE = places.PROJECT / "shop" / "api_examples.json"
EXAMPLES: list[dict[str, Any]] = json.loads(FILE.read_text())
CALLS = {
    operation["operationId"]: (method, path, operation)
    for path, item in openapi_document.read()["paths"].items()
    for method, operation in item.items()
}
NOON = datetime.fromisoformat("2026-11-20T12:00:00Z")
"""The time of the examples when the session begins."""
INSTANT = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)")
IN_TEXTS = re.compile(r"\b(product|campaign|account) (\d+)")
UUID = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}")
NUMBERED = ["api-keys", "sales", "products", "campaigns", "users", "deliveries", "entries", "stock-movements"]
"""Resources whose ids are numbers: in examples those of the n-th begin at 10 n + 1."""
NAMED = ["orders", "payments", "refunds", "queue-tickets", "entries", "webhook-endpoints", "events"]
"""Resources whose ids are UUIDs: in examples the n-th are 0199c1f0-000n-…"""
SAME = {
    "accounts": "users",
    "made_bys": "users",
    "sale-entries": "entries",
    "grants": "entries",
    "tests": "deliveries",
    "top-ups": "payments",
    "stock-adjustments": "stock-movements",
    "keys": "api-keys",
    "deliverys": "deliveries",
    "coupons": "queue-tickets",
}
OPAQUE = {
    re.compile(r"eyJ[\w.-]+"): "eyJhbGciOiJIUzI1NiJ9.example.{0}",
    re.compile(r"fc_key_[\w-]{20,}"): "fc_key_example_{0}",
    re.compile(r"fc_key_[\w-]{1,19}"): "fc_key_{0}",
    re.compile(r"whsec_\S+"): "whsec_example_{0}",
    re.compile(r"[0-9a-f]{64}"): "{1}",
    re.compile(r"[2346789CDFGHJKMPQRTVWXY]{8}"): "K7M2Q9W{0}",
    re.compile(r"[A-Z0-9]{14}"): "COUPON-{0}",
    re.compile(r"http://testserver/\S+"): "https://shop.example/api/v1/…",
    re.compile(r"[\w-]{22,}={0,2}"): "AQAAAAAAAAACAAAAAAAAAAA=",
    re.compile(r"http://127\.0\.0\.1:\d+/3ds/\S+"): "https://bank.example/3ds/{0}",
}
"""What stands for a value that none can know: its number, or a hash of that."""


class Names:
    """What the session's values are called in the examples, and what they really are."""

    def __init__(self):
        self.began = clock.now()
        self._real: dict[Any, Any] = {}
        self._names: dict[tuple[str, Any], Any] = {}
        self._counts: Counter[str] = Counter()

    def give(self, name, value, kind=""):
        self._real[name] = value
        self._names[kind, value] = name

    def named(self, value, kind: str, field=""):
        """An answer as an example; `kind` is what its `id` is the id of."""
        if isinstance(value, dict):
            kind = _kind(field) if _kind(field) in NAMED else kind
            return {name: self.named(one, kind, name) for name, one in value.items()}
        if isinstance(value, list):
            return [self.named(one, kind, field) for one in value]
        of = kind if field == "id" else _kind(field)
        if isinstance(value, int) and not isinstance(value, bool) and of in NUMBERED:
            return self._name(value, of, lambda number: 10 * NUMBERED.index(of) + 10 + number)
        if not isinstance(value, str):
            return value
        if UUID.fullmatch(value):
            group = NAMED.index(of) + 1 if of in NAMED else 0
            template = "0199c1f0-{0:04}-7000-8000-{1:012}"
            return self._name(value, "uuid", partial(template.format, group), count=str(group))
        for pattern, template in OPAQUE.items():
            if pattern.fullmatch(value):
                return self._name(value, template, lambda number: template.format(number, _hash(number)))  # noqa: B023
        return INSTANT.sub(self._instant, IN_TEXTS.sub(self._number, self._names.get(("", value), value)))

    def _instant(self, found):
        passed = datetime.fromisoformat(found[0]) - self.began
        return _written(NOON + timedelta(minutes=round(passed.total_seconds() / 60)))

    def _number(self, found):
        kind, number = found.groups()
        return f"{kind} {self._names.get((_kind(kind), int(number)), number)}"

    def _name(self, value, kind, name, *, count=""):
        if (kind, value) not in self._names:
            self._counts[count or kind] += 1
            self.give(name(self._counts[count or kind]), value, kind)
        return self._names[kind, value]

    def real(self, value, field=""):
        """What is sent for an example's body, or for a variable of its path."""
        if isinstance(value, dict):
            return {name: self.real(one, name) for name, one in value.items()}
        if isinstance(value, list):
            return [self.real(one, field) for one in value]
        if isinstance(value, str) and INSTANT.fullmatch(value):
            return _written(self.began + (datetime.fromisoformat(value) - NOON))
        is_value = isinstance(value, int) and _kind(field) not in NUMBERED
        return value if is_value else self._real.get(value, value)


def _kind(field):
    plural = field.removesuffix("_id").removesuffix("s") + "s"
    return SAME.get(plural, plural)


def _kind_of_ids(path):
    """What the `id` of an answer of this path is the id of."""
    kinds = [SAME.get(f"{part}s", SAME.get(part, part)) for part in path.split("/")]
    return next((one for one in reversed(kinds) if one in NUMBERED + NAMED), "")


def _written(instant):
    return f"{instant:%Y-%m-%dT%H:%M:%S.%fZ}"


def _hash(*parts):
    return hashlib.sha256(repr(parts).encode()).hexdigest()


class Session:
    """Callers of a shop whose workers do between two calls what is due."""

    def __init__(self):
        self.names = Names()
        self.names.give("https://partner.example/webhooks", "https://127.0.0.1/webhooks")
        self.names.named({"account": SuperuserFactory(username="ada").pk}, "")

    def send(self, example: dict[str, Any]):
        stepping.Delegate().wake()
        worker.serve_once()
        method, path, operation = CALLS[example["operation"]]
        for name, value in example.get("path", {}).items():
            path = path.replace(f"{{{name}}}", str(self.names.real(value, name)))
        for name, value in example.get("query", {}).items():
            path += f"{'&' if '?' in path else '?'}{name}={self.names.real(value, name)}"
        sent = dump(self.names.real(example["body"])) if "body" in example else None
        headers = {"X-Request-ID": "checkout-7", "Prefer": "wait=0"}
        name = {"staff": "ada", "buyer": "mina"}.get(example["caller"])
        if example["caller"] == "gateway" and sent:
            headers |= events.signed(sent)
        # One key for a call, and for its repeats.
        key = _hash(example["operation"], path, sent) if code_samples.needs_key(operation) else ""
        caller = client_of(User.objects.get(username=name) if name else None)
        return caller._call(method.upper(), path, sent, key, headers)

    def answer(self, example: dict[str, Any]) -> tuple[int, Any]:
        """The status, and the answer as an example."""
        name = example.get("name", example["operation"])
        if prepare := BEFORE.get(name):
            prepare(self)
        if name in SETTLED:
            self.send(example)
        answer = self.send(example)
        kind = _kind_of_ids(CALLS[example["operation"]][1])
        return answer.status_code, self.names.named(answer.json(), kind) if answer.content else None

    def campaign(self, *, issued=0, **columns):
        campaign = CampaignFactory(**columns)
        self.names.named({"campaign": campaign.pk}, "")
        for _ in range(issued):
            coupon_of(campaign)

    def product(self, **columns):
        self.names.named({"product": ProductFactory(**columns).pk}, "")

    def order(self, *, declined=0, buyer="mina"):
        """An order of a mug, which so many cards were refused for."""
        account = User.objects.filter(username=buyer).first() or buying.account()
        order = buying.order(account, Product.objects.get(sku="MUG"))
        self.names.named({"order": str(order.id)}, "")
        card = {"order": str(order.id), "token": "tok_declined", "keep_on_decline": True}
        for number in range(declined):
            client_of(account).post("/payments", card, key=f"card {number}")
            stepping.Delegate().wake()


BEFORE: dict[str, Callable[[Session], object]] = {
    "A ticket of a queue": lambda session: session.campaign(name="Queue", strategy="queue"),
    "Before it opens": lambda session: session.campaign(name="Autumn", scheduled=True),
    "The last code of the pool is issued": lambda session: session.campaign(
        name="Winter", quantity=1, issued=1
    ),
    "voidCoupon": lambda session: session.campaign(
        name="Summer", code_source="pool", codes=["SUMMER-2Q"], issued=1
    ),
    "createSale": lambda session: session.product(sku="LAMP", name="Lamp", price=30_000, on_hand=10),
    "Too little stock of a product": lambda session: session.product(sku="TEAPOT", name="Teapot", on_hand=2),
    "A sixth card for an order that was kept": lambda session: session.order(declined=5),
    "The order of another account": lambda session: session.order(buyer=""),
}
"""What has to be there first, by the example's name or its operation."""
SETTLED = {
    "Charged and credited",
    "The card's owner must act",
    "A declined card",
    "An unknown card token",
    "The order is paid",
}
"""Examples of what a call answers once workers have done what it began."""


@pytest.mark.usefixtures("own_gateway")
def test_every_example_is_what_the_shop_answers(transactional_db, monkeypatch, settings):
    settings.WEBHOOK_PRIVATE_ADDRESSES, settings.DATA_PLATFORM_URL = True, ""
    monkeypatch.setattr(run, "process_executor", stepping.Delegate)
    session = Session()
    made = []
    for example in EXAMPLES:
        status, answer = session.answer(example)
        assert status == example["status"], (example, answer)
        made.append(example | {"answer": answer})
    if os.environ.get("EXAMPLES") == "write":
        EXAMPLES[:] = with_samples(made)
        FILE.write_text(json.dumps(EXAMPLES, indent=2, ensure_ascii=False) + "\n")
        return
    wrong = [
        f"{now['operation']}: {now['answer']}, not {written['answer']}"
        for now, written in zip(made, EXAMPLES, strict=True)
        if _at_any_time(now) != _at_any_time(written)
    ]
    assert not wrong, "\n".join(wrong)


def _at_any_time(example):
    return INSTANT.sub("instant", json.dumps(example, sort_keys=True))


def with_samples(examples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The examples; the first success of each call has samples of code."""
    first = {one["operation"]: one for one in reversed(examples) if one["status"] < 300}
    for example in examples:
        example.pop("samples", None)
        if example is first.get(example["operation"]):
            example["samples"] = code_samples.of_call(*CALLS[example["operation"]], example)
    return examples


def test_every_call_has_its_examples_and_samples():
    assert {example["operation"] for example in EXAMPLES if "samples" in example} == CALLS.keys()
    assert with_samples([dict(example) for example in EXAMPLES]) == EXAMPLES
