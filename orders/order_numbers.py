"""Order numbers: short, unique, and without a way to tell how many orders there are.

A number is a keyed permutation of a counter, so that none collides: a Feistel network of ten rounds over two
halves (as FF1 of NIST SP 800-38G, whose rounds are AES). Counter and key are the database's one row of
`NumberState`. A process takes the counter's next values by the block; what it has left at its end is lost.
"""

from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from hashlib import blake2b
from itertools import repeat

from django.db import transaction
from django.db.models import F

from foundation.db import bulk_sql, transactions
from foundation.db.rows import save_changes
from orders.models import NumberState, Order

ALPHABET = "2346789CDFGHJKMPQRTVWXY"
"""No signs that look alike, and no vowels, so no words."""
LENGTH = 8
GROUP = 4
HALF = len(ALPHABET) ** (LENGTH // 2)
ROUNDS = 10
BLOCK = 1_000
"""How many values of the counter a process takes at a time: one of so many orders pays for its lock."""
ROW = 1
GAP = 1_000_000
NUMBERED_AT_ONCE = 500


Value = tuple[int, bytes]
"""Of the counter, with the key of its permutation."""
_left: deque[Value] = deque()
"""What this process has left of the blocks that it took."""


class Numbers:
    """The numbers of the orders of one transaction."""

    def __init__(self) -> None:
        self._own: deque[Value] = deque()

    def next(self) -> str:
        """The number of a new order, inside its transaction. The first order of a block locks the counter,
        after all that others wait for.
        """
        with suppress(IndexError):
            return _permuted(*(self._own or _left).popleft())
        self._own.extend(_take_block())
        # A transaction that fails gives the block back to the counter, so no other may use it before.
        transaction.on_commit(partial(_left.extend, self._own))
        return self.next()


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
    # The index has those without a number in the order of ids; an ORDER BY could have the table read instead.
    without = Order.objects.filter(number=None).select_for_update(skip_locked=True).order_by()
    ids = list(without.values_list("id", flat=True)[:NUMBERED_AT_ONCE])
    if not ids:
        return 0
    cells = bulk_sql.SqlLiterals()
    numbers = Numbers()
    of_orders = cells.case("id", {id: numbers.next() for id in ids})
    statement = f"UPDATE orders_order SET number = {of_orders} WHERE id IN ({cells.listed(ids)})"  # noqa: S608
    bulk_sql.execute_deferred(statement)
    return len(ids)


def leave_gap() -> None:
    """Leave out the numbers that may have been given out since the state of a database that is restored."""
    NumberState.objects.filter(pk=ROW).update(next_value=F("next_value") + GAP)


def _take_block() -> Iterable[Value]:
    """Take the counter's next values; the row stays locked until the transaction ends."""
    state = NumberState.objects.select_for_update().get(pk=ROW)
    block = range(state.next_value, state.next_value + BLOCK)
    save_changes(state, next_value=block.stop)
    return zip(block, repeat(bytes.fromhex(state.key)), strict=False)


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
