"""Whether every acknowledged effect is in the tables of every server, and no other one is.

A client repeats a call with its key until the answer is final. So in the end each row of the load's accounts
has been in an answer: one that has not was made a second time, or was made and refused.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from lab.chaos.memory import RecordedCall, Setup

TABLES = {
    "coupon": "SELECT code FROM firstcome.coupons_coupon WHERE account_id IN ({accounts})",
    "order": "SELECT id FROM firstcome.orders_order WHERE account_id IN ({accounts})",
    "payment": "SELECT id FROM firstcome.payments_payment WHERE account_id IN ({accounts})",
    # Not those that were made at the gateway.
    "refund": "SELECT refund.id FROM firstcome.orders_refund refund JOIN firstcome.orders_order placed "
    "ON placed.id = refund.order_id WHERE placed.account_id IN ({accounts}) AND refund.source = 'staff'",
    "entry": "SELECT id FROM firstcome.sales_saleentry WHERE account_id IN ({accounts})",
    # A wallet has its owner's id. What operators grant at their pages is compared by itself.
    "grant": "SELECT entry.id FROM firstcome.payments_entry entry JOIN firstcome.payments_transfer transfer "
    "ON transfer.id = entry.transfer_id WHERE transfer.kind = 'grant' "
    "AND SUBSTR(transfer.reason, 1, 9) <> 'operator ' AND entry.account_id IN ({accounts})",
    "adjustment": "SELECT id FROM firstcome.inventory_stockmovement WHERE kind = 'adjusted' "
    "AND product_id IN ({products})",
}
"""The rows of each kind of effect."""
MAY_BE_UNNAMED = {"payment"}
"""An order that is paid at once is answered without the id of its payment."""
HAVE_UUIDS = {"order", "payment", "refund", "entry"}
"""MySQL's and SQLite's columns lack the hyphens that answers and MariaDB have."""
TRUTH = """firstcome.coupons_coupon, firstcome.inventory_product, firstcome.inventory_stockmovement,
firstcome.orders_order, firstcome.orders_orderline, firstcome.orders_refund, firstcome.payments_entry,
firstcome.payments_payment, firstcome.payments_transfer"""
"""Tables whose every value must be the same on each member: amounts and levels, not the rows alone."""

Effects = Mapping[str, set[str]]


class Compared(NamedTuple):
    """Effects that a server lacks, and rows that were in no answer."""

    lost: list[str]
    doubled: list[str]


def acknowledged(setup: Setup) -> Effects:
    """The identities in all final answers, by the kind of effect."""
    found: dict[str, set[str]] = {kind: set() for kind in TABLES}
    for kind, known in (identity(made) for made in setup.calls if made.was_done):
        if kind:
            found[kind].add(known)
    # Those that orders with a shared code were given, too.
    found["coupon"].update(*(account.coupons() for account in setup.buyers))
    return found


def identity(made: RecordedCall) -> tuple[str, str]:
    """The kind of the call's effect, and the identity that its answer has; both empty for none."""
    body, status = made.answer.body, made.answer.status
    match made.sort:
        case "coupon":
            return "coupon", body["code"]
        case "order":
            return "order", _plain("order", made.order_id)
        case "payment" | "top_up" if status in (200, 201):
            return "payment", _plain("payment", body.get("payment") or body["id"])
        case "refund" | "entry" | "grant" | "adjustment":
            return made.sort, _plain(made.sort, body["id"])
    return "", ""


def _plain(kind: str, known: object) -> str:
    return str(known).replace("-", "") if kind in HAVE_UUIDS else str(known)


def compare(known: Effects, stored: Mapping[str, Effects], *, before: Effects) -> Compared:
    """The acknowledged effects beside each server's rows, and these without the rows from before the load."""
    lost = [
        f"{kind} {one} is not on {server}"
        for server, tables in stored.items()
        for kind, identities in known.items()
        for one in sorted(identities - tables[kind])
    ]
    doubled = [
        f"{kind} {one} on {server} was in no answer"
        for server, tables in stored.items()
        for kind in tables.keys() - MAY_BE_UNNAMED
        for one in sorted(tables[kind] - known[kind] - before[kind])
    ]
    return Compared(lost, doubled)


def stored(setup: Setup, ask: Callable[[str], Sequence[tuple[Any, ...]]]) -> Effects:
    """The rows that one server answers with; a shop without a sale may have no table of entries."""
    accounts = ", ".join(str(account.id) for account in setup.buyers)
    products = ", ".join(str(product.id) for product in setup.stocked)
    found: dict[str, set[str]] = {"entry": set()}
    for kind, statement in TABLES.items():
        if kind != "entry" or setup.drop:
            rows = ask(statement.format(accounts=accounts, products=products))
            found[kind] = {_plain(kind, row[0]) for row in rows}
    return found


def unequal(sums: Mapping[str, Mapping[str, int | None]]) -> list[str]:
    """The tables whose checksums differ from the first member's; a table that is not there has none."""
    (first, expected), *others = sums.items()
    return [
        f"{table} is not the same on {member} and {first}"
        for member, found in others
        for table, checksum in found.items()
        if checksum is None or checksum != expected[table]
    ]
