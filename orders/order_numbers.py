"""Order numbers: short, unique, and without a way to tell how many orders there are.

A number is a keyed permutation of a counter, so that none collides: a Feistel network of ten rounds over two
halves (as FF1 of NIST SP 800-38G, whose rounds are AES). Counter and key are the database's one row of
`NumberState`. A process takes the counter's next values by the block; what it has left at its end is lost.
"""

import threading
from collections.abc import Iterator
from functools import partial
from hashlib import blake2b

from django.db import transaction
from django.db.models import F

from orders.models import NumberState, Order
from shop.db import bulk_sql, transactions

ALPHABET = "2346789CDFGHJKMPQRTVWXY"
"""No signs that look alike, and no vowels, so no words."""
LENGTH, GROUP = 8, 4
HALF = len(ALPHABET) ** (LENGTH // 2)
ROUNDS = 10
BLOCK = 1_000
"""How many values of the counter a process takes at a time: one of so many orders pays for its lock."""
ROW = 1
GAP = 1_000_000
NUMBERED_AT_ONCE = 500


class _Blocks:
    """What this process has left of the blocks that it took."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._left: list[Iterator[str]] = []

    def next(self) -> str | None:
        with self._mutex:
            while self._left:
                if number := next(self._left[-1], None):
                    return number
                self._left.pop()
        return None

    def add(self, block: Iterator[str]) -> None:
        with self._mutex:
            self._left.append(block)


_blocks = _Blocks()


class Numbers:
    """The numbers of the orders of one transaction."""

    def __init__(self) -> None:
        self._block: Iterator[str] = iter(())

    def next(self) -> str:
        """The number of a new order, inside its transaction. The first order of a block locks the counter,
        after all that others wait for.
        """
        if number := next(self._block, None) or _blocks.next():
            return number
        self._block = _take_block()
        # A transaction that fails gives the block back to the counter, so no other may use it before.
        transaction.on_commit(partial(_blocks.add, self._block))
        return next(self._block)


def parse(text: str) -> str | None:
    """The number that was typed, in either case, with hyphens and blanks or without; None if it can't be
    one.
    """
    typed = "".join(text.split()).replace("-", "").upper()
    return typed if len(typed) == LENGTH and set(typed) <= set(ALPHABET) else None


def shown(number: str | None) -> str:
    """The number in groups of four, as pages show it; empty for an order that has none yet."""
    number = number or ""
    return "-".join(number[start : start + GROUP] for start in range(0, len(number), GROUP))


def number_orders() -> int:
    """Number the orders that an earlier release placed, the oldest first, in short transactions. Returns how
    many.
    """
    count = 0
    while done := transactions.run(_number_some, transactions.REPEATABLE):
        count += done
    return count


def _number_some() -> int:
    without = Order.objects.filter(number=None).select_for_update(skip_locked=True).order_by("id")
    ids = list(without.values_list("id", flat=True)[:NUMBERED_AT_ONCE])
    if not ids:
        return 0
    cells, numbers = bulk_sql.SqlLiterals(), Numbers()
    cases = " ".join([f"WHEN {cells[id]} THEN {cells[numbers.next()]}" for id in ids])
    statement = f"UPDATE orders_order SET number = CASE id {cases} END WHERE id IN ({cells.listed(ids)})"  # noqa: S608
    bulk_sql.execute_deferred(statement)
    return len(ids)


def leave_gap() -> None:
    """Leave out the numbers that may have been given out since the state of a database that is restored."""
    NumberState.objects.filter(pk=ROW).update(next_value=F("next_value") + GAP)


def _take_block() -> Iterator[str]:
    """Take the counter's next values, as numbers; the row stays locked until the transaction ends."""
    if not NumberState.objects.filter(pk=ROW).exists():
        NumberState.objects.bulk_create([NumberState(pk=ROW)], ignore_conflicts=True)
    state = NumberState.objects.select_for_update().get(pk=ROW)
    first, state.next_value = state.next_value, state.next_value + BLOCK
    state.save(update_fields=["next_value"])
    key = bytes.fromhex(state.key)
    return (_permuted(value, key) for value in range(first, first + BLOCK))


def _permuted(value: int, key: bytes) -> str:
    left, right = divmod(value, HALF)
    if left >= HALF:
        raise OverflowError("There is no order number left.")
    for number in range(ROUNDS):
        hashed = blake2b(b"%d.%d" % (number, right), key=key, digest_size=8).digest()
        left, right = right, (left + int.from_bytes(hashed, "big")) % HALF
    return _written(left) + _written(right)


def _written(half: int) -> str:
    signs = ""
    for _ in range(LENGTH // 2):
        half, sign = divmod(half, len(ALPHABET))
        signs += ALPHABET[sign]
    return signs
