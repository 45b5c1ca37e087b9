"""Whether every acknowledged effect is in the tables of every member, and no other one is.

A client repeats a call with its key until the answer is final. So in the end each row of the drill's accounts
has been in an answer: one that has not was made a second time, or was made and refused.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import MySQLdb

from lab.chaos.memory import RecordedCall, Setup
from lab.cluster.group_replication.members import GroupMembers
from scripts.stack import waiting

CATCH_UP_SECONDS = 180
QUESTION_SECONDS = 60
SAME_SECONDS = 30
TABLES = {
    "coupon": "SELECT code FROM firstcome.coupons_coupon WHERE account_id IN ({accounts})",
    "order": "SELECT id FROM firstcome.orders_order WHERE account_id IN ({accounts})",
    "payment": "SELECT id FROM firstcome.payments_payment WHERE account_id IN ({accounts})",
    "refund": (
        "SELECT refund.id FROM firstcome.orders_refund refund JOIN firstcome.orders_order placed "
        "ON placed.id = refund.order_id WHERE placed.account_id IN ({accounts}) "
        # Not those that were made at the gateway.
        "AND refund.source = 'staff'"
    ),
    "entry": "SELECT id FROM firstcome.sales_saleentry WHERE account_id IN ({accounts})",
    # A wallet has its owner's id.
    "grant": (
        "SELECT entry.id FROM firstcome.payments_entry entry JOIN firstcome.payments_transfer transfer "
        "ON transfer.id = entry.transfer_id WHERE transfer.kind = 'grant' "
        # What operators grant at their pages is compared by itself.
        "AND LEFT(transfer.reason, 9) <> 'operator ' AND entry.account_id IN ({accounts})"
    ),
    "adjustment": (
        "SELECT id FROM firstcome.inventory_stockmovement WHERE kind = 'adjusted' "
        "AND product_id IN ({products})"
    ),
}
"""The rows of each kind of effect."""
TRUTH = (
    "coupons_coupon",
    "inventory_product",
    "inventory_stockmovement",
    "orders_order",
    "orders_orderline",
    "orders_refund",
    "payments_entry",
    "payments_payment",
    "payments_transfer",
)
"""Tables whose every value must be the same on each member: amounts and levels, not the rows alone."""
MAY_BE_UNNAMED = {"payment"}
"""An order that is paid at once is answered without the id of its payment."""

HAVE_UUIDS = {"order", "payment", "refund", "entry"}

Effects = Mapping[str, set[str]]


@dataclass(frozen=True)
class Compared:
    """Effects that a member lacks, and rows that were in no answer."""

    lost: list[str]
    doubled: list[str]


def acknowledged(setup: Setup) -> Effects:
    """The identities in all final answers, by the kind of effect."""
    found: dict[str, set[str]] = {kind: set() for kind in TABLES}
    for account in [setup.staff, *setup.buyers]:
        for made in account.calls:
            if made.was_done:
                kind, its_identity = identity(made)
                if kind:
                    found[kind].add(its_identity)
        # Those that orders with a shared code were given, too.
        found["coupon"] |= account.coupons().keys()
    return found


def identity(made: RecordedCall) -> tuple[str, str]:
    """The kind of the call's effect, and the identity that its answer has; both empty for none."""
    body = made.answer.body
    match made.sort:
        case "coupon":
            return "coupon", body["code"]
        case "order":
            return "order", _plain(body["order"] if made.answer.status == 402 else body["id"])
        case "payment" | "top_up" if made.answer.status in (200, 201):
            return "payment", _plain(body.get("payment") or body["id"])
        case "refund" | "entry":
            return made.sort, _plain(body["id"])
        case "grant" | "adjustment":
            return made.sort, str(body["id"])
    return "", ""


def _plain(identity: str) -> str:
    """A UUID without hyphens, which MySQL's columns lack and MariaDB's show."""
    return identity.replace("-", "")


def compare(known: Effects, stored: Mapping[str, Effects], *, before: Effects) -> Compared:
    """The acknowledged effects beside each member's rows, and these without the rows from before the load."""
    lost = [
        f"{kind} {identity} is not on {member}"
        for member, tables in stored.items()
        for kind, identities in known.items()
        for identity in sorted(identities - tables[kind])
    ]
    doubled = [
        f"{kind} {identity} on {member} was in no answer"
        for member, tables in stored.items()
        for kind, identities in tables.items()
        if kind not in MAY_BE_UNNAMED
        for identity in sorted(identities - known[kind] - before[kind])
    ]
    return Compared(lost, doubled)


def stored_by_member(members: GroupMembers, setup: Setup) -> dict[str, Effects]:
    """The rows of every member. Raises MySQLdb's errors."""
    servers = members.servers
    return {
        servers.name(number): stored(setup, partial(servers.ask, number, seconds=QUESTION_SECONDS))
        for number in servers.numbers
    }


def stored(setup: Setup, ask: Callable[[str], Sequence[tuple[Any, ...]]]) -> Effects:
    """The rows that one server answers with; a shop without a sale may have no table of entries."""
    named = {
        "accounts": ", ".join(str(account.id) for account in setup.buyers),
        "products": ", ".join(str(product.id) for product in setup.stocked),
    }
    asked = [kind for kind in TABLES if kind != "entry" or setup.drop]
    return {"entry": set(), **{kind: identities(kind, ask(TABLES[kind].format(**named))) for kind in asked}}


def differing(members: GroupMembers) -> list[str]:
    """Tables of `TRUTH` whose contents differ between members. Raises MySQLdb's errors."""
    return waiting.left(lambda: _differences(members), within_seconds=SAME_SECONDS, pause_seconds=0.5)


def _differences(members: GroupMembers) -> list[str]:
    names = ", ".join(f"firstcome.{table}" for table in TRUTH)
    servers = members.servers
    return unequal(
        {
            servers.name(number): dict(
                servers.ask(number, f"CHECKSUM TABLE {names}", seconds=QUESTION_SECONDS)
            )
            for number in servers.numbers
        }
    )


def unequal(sums: Mapping[str, Mapping[str, int | None]]) -> list[str]:
    """The tables whose checksums differ from the first member's; a table that is not there has none."""
    (first, expected), *others = sums.items()
    return [
        f"{table} is not the same on {member} and {first}"
        for member, found in others
        for table, checksum in found.items()
        if checksum is None or checksum != expected[table]
    ]


def identities(kind: str, rows: Sequence[tuple[Any, ...]]) -> set[str]:
    """The identity in each of these rows, as `acknowledged` has it."""
    return {_plain(str(row[0])) if kind in HAVE_UUIDS else str(row[0]) for row in rows}


def wait_for_members(members: GroupMembers) -> Sequence[str]:
    """Return once each member has executed what the primary has; those that have not in time."""
    return waiting.left(lambda: _behind(members), within_seconds=CATCH_UP_SECONDS, pause_seconds=0.5)


def _behind(members: GroupMembers) -> Sequence[str]:
    primary = members.primary()
    if primary is None:
        return ["no member is the primary"]
    try:
        return members.behind(primary)
    except MySQLdb.Error as error:
        return [f"a member does not answer: {error}"]
