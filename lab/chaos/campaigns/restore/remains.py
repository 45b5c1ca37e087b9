"""What outlives a lost database in clients and in Redis, and what the restored shop has to say to it."""

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lab.chaos.calls import Answer, Call, Observations
from lab.chaos.memory import Account, RecordedCall, Setup
from lab.chaos.shop import Shop
from scripts.stack import supervision
from scripts.stack.instance import Instance

TICKETS = 4
MOST_REPEATED = 5
PATIENCE_SECONDS = 60
PASSWORD = "a-password-of-2026"  # noqa: S105


@dataclass(frozen=True)
class Remains:
    """A lost account by name, id and token; and tickets of a queue, each with the account that has it."""

    username: str
    account_id: int
    token: str
    queue: int
    tickets: Sequence[tuple[Account, str]]


def queue_of(shop: Shop) -> int:
    """A new campaign with a queue, which the other clients don't know."""
    terms = {"name": "Tickets that are lost", "strategy": "queue", "quantity": 1_000}
    discount = {"discount": {"type": "amount", "value": 700}}
    return int(shop.call("POST", "/campaigns", terms | discount)["id"])


def create_leftovers(instance: Instance, setup: Setup, shop: Shop, queue: int) -> Remains:
    """Register an account, and have tickets wait in the queue: the issuer is stopped. Raises SetupError."""
    supervision.stop(instance, "issuer")
    name = f"lost-{uuid.uuid4().hex[:12]}"
    account = shop.call("POST", "/users", _registration(name))
    token = shop.call("POST", "/auth/token", {"username": name, "password": PASSWORD})["access"]
    tickets = []
    for buyer in setup.buyers[:TICKETS]:
        answer = _ask(shop, Call("POST", "/coupons", buyer.token, {"campaign": queue}))
        tickets.append((buyer, str(answer.body["id"])))
    return Remains(name, int(account["id"]), token, queue, tickets)


def _registration(name: str) -> dict[str, str]:
    return {"username": name, "email": f"{name}@example.com", "password": PASSWORD}


def check(left: Remains, shop: Shop, seen: Observations, *, product: int) -> None:
    """Look whether token, account and tickets are as unknown as they have to be; else that is a finding."""
    basket = {"items": [{"product": product, "quantity": 1}]}
    answer = _ask(shop, Call("POST", "/orders", left.token, basket, str(uuid.uuid4())))
    if answer.status != 401:
        seen.record_finding(f"the token of a lost account is answered {answer}")
    again = shop.call("POST", "/users", _registration(left.username))
    if int(again["id"]) <= left.account_id:
        seen.record_finding(f"the id {left.account_id} of a lost account came again as {again['id']}")
    for account, ticket in left.tickets:
        answer = _ask(shop, Call("GET", f"/queue-tickets/{ticket}", account.token))
        if answer.status != 404:
            seen.record_finding(f"the lost ticket {ticket} is answered {answer}")
        _check_queue_again(account, ticket, left.queue, shop, seen)


def _check_queue_again(account: Account, lost: str, queue: int, shop: Shop, seen: Observations) -> None:
    """The account asks again, and gets a coupon; its old entry in Redis is not in the way."""
    call = Call("POST", "/coupons", account.token, {"campaign": queue})
    until = time.monotonic() + PATIENCE_SECONDS
    answer = _ask(shop, call)
    while answer.status == 202 and time.monotonic() < until:
        if answer.body["id"] == lost:
            seen.record_finding(f"the lost ticket {lost} was given again")
            return
        time.sleep(0.2)
        answer = _ask(shop, call)
    account.calls.append(RecordedCall("coupon", call, answer))
    if answer.status not in (200, 201):
        seen.record_finding(f"an account whose ticket was lost has no coupon: {answer}")


def repeat_forgotten(calls: Sequence[RecordedCall], shop: Shop, seen: Observations) -> int:
    """Repeat some keyed calls whose order is lost: each places one new order; how many were repeated."""
    chosen = calls[:MOST_REPEATED]
    for made in chosen:
        old = _order_id(made.answer.body)
        first, second = _ask(shop, made.call), _ask(shop, made.call)
        if first.is_replay or _order_id(first.body) == old:
            seen.record_finding(f"the key {made.call.key} of a lost order is answered {first}")
        if first.status in (201, 402) and (second.body, second.is_replay) != (first.body, True):
            seen.record_finding(f"the key {made.call.key} is answered {first}, then {second}")
        made.answer, made.answered_at = second, time.time()
    return len(chosen)


def _order_id(body: Any) -> str:
    return str(body.get("order") or body.get("id") or "")


def _ask(shop: Shop, call: Call) -> Answer:
    return shop.connection.call_until_final(call, until=time.monotonic() + PATIENCE_SECONDS)
