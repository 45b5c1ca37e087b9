"""In which order each hot transaction locks and writes tables: docs/paths.md has it as it was recorded."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import groupby
from typing import Any

import pytest
from MySQLdb.connections import Connection

from foundation.tests.factories import AccountFactory
from inventory.tests.factories import ProductFactory
from lab.tests import test_budget as budget
from lab.tests.metering import metering
from lab.tests.test_budget import Buyers, Operation, _alone  # noqa: F401 - a fixture of these tests too
from orders import schemas
from orders.payment import refunding
from orders.saga import run
from orders.tests import buying, stepping
from sales.tests.factories import create_sale, join_accounts
from sales.waiting_room import ticking
from scripts.stack import places

pytestmark = budget.pytestmark
PAGE = places.PROJECT / "docs/paths.md"
HEAD = "| transactions | locks (**bold**) and writes, in this order |\n| --- | --- |\n"
STATEMENT = re.compile(r";\s*(?=(?:SELECT|INSERT|UPDATE|DELETE|COMMIT|ROLLBACK|BEGIN|START|SET|WITH)\b)")
WRITE = re.compile(r"\s*(?:INSERT(?: IGNORE)? INTO|UPDATE|DELETE FROM)\s+`?(\w+)`?")
LOCK = re.compile(r"FROM\s+`?(\w+)`?.*\b(?:FOR UPDATE|FOR SHARE|LOCK IN SHARE MODE)", re.DOTALL)
END = re.compile("COMMIT|ROLLBACK")
RECORDED = 3
"""Each operation is recorded when it is done for the third time: the first ones also make what is kept."""


def admission(buyers) -> Operation:
    sale = create_sale(rate_per_minute=60_000)

    def prepare():
        join_accounts(sale, [buyers.next()])
        return [ticking.tick]

    return prepare


def refund(_: Buyers) -> Operation:
    executor: Any = run.process_executor()

    def prepare():
        sold = buying.place_for_newcomer(ProductFactory(on_hand=5), token="tok_ok")
        while executor.pools.step():
            pass
        call = buying.keyed(AccountFactory(is_staff=True).id, schemas.refund_answer)
        of = {"order_id": sold.order.id, "wanted": None, "reason": "broken", "restock": True, "keyed": call}
        return [lambda: stepping.advance(refunding.start_refund(**of).saga_id)]

    return prepare


OPERATIONS: dict[str, Callable[[Buyers], Operation]] = {
    "issue a coupon": budget.coupon,
    "place an order with coupon and points": budget.order_with_coupon_and_points,
    "place and pay an order": budget.paid_order,
    "refund a paid order": refund,
    "admit from a waiting room": admission,
    "deliver events": budget.event_delivery,
}


@contextmanager
def recording() -> Iterator[list[tuple[Connection, str]]]:
    """Statements as they are sent, each with its connection."""
    sent: list[tuple[Connection, str]] = []
    query = Connection.query

    def record(connection, text):
        statements = STATEMENT.split(bytes(text).decode() if isinstance(text, bytes | bytearray) else text)
        sent.extend((connection, statement) for statement in statements)
        return query(connection, text)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Connection, "query", record)
        patch.setattr(Connection, "commit", lambda connection: record(connection, "COMMIT"))
        yield sent


def transactions(sent: list[tuple[Connection, str]]) -> list[str]:
    """What each transaction locked and wrote; those that did neither are left out."""
    open_steps: dict[Connection, list[str]] = {}
    ended = []
    for connection, statement in sent:
        steps = open_steps.setdefault(connection, [])
        if END.match(statement):
            ended.append(steps)
            open_steps[connection] = []
        elif lock := LOCK.search(statement):
            steps.append(f"**{lock[1]}**")
        elif write := WRITE.match(statement):
            steps.append(write[1])
    return [" · ".join(table for table, _ in groupby(steps)) for steps in ended if steps]


def row_of(name: str) -> str:
    buyers = Buyers(30 + RECORDED)
    with metering() as meter:
        prepare = OPERATIONS[name](buyers)
        for _ in range(RECORDED):
            steps = prepare()
            with recording() as sent:
                meter.cost(*steps)
    return f"| {name} | {'; then '.join(transactions(sent))} |\n"


def write(name: str, row: str):
    """Replace the row of the page, or add it."""
    text, number = re.subn(rf"^\| {name} \| .*\n", row, PAGE.read_text(), flags=re.MULTILINE)
    PAGE.write_text(text if number else text.replace(HEAD, HEAD + row))


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_hot_transaction_locks_and_writes_in_the_order_that_the_page_says(name):
    row = row_of(name)
    if os.environ.get("REFERENCE") == "write":
        write(name, row)

    assert row in PAGE.read_text()
