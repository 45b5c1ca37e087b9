"""Publishes a snapshot a second to the viewers of this process, while there are any.

A snapshot is read, composed and encoded once, in threads, and its bytes go to all viewers. Systems that hang
delay it by their deadlines at most, and it then says how old its figures are.
"""

import asyncio
from datetime import datetime
from typing import Any

import orjson
from structlog import get_logger

from shop import clock
from shop.backoffice.board import history, readings
from shop.backoffice.board.history import History, Point
from shop.backoffice.board.paced_reading import BOARD_POOL, PacedReading
from shop.backoffice.board.readings import GoodsState, ShopState
from shop.backoffice.board.snapshots import SnapshotComposer
from shop.concurrency import event_loop
from shop.operations import shared_counts
from shop.operations.shared_counts import SecondCounts

log = get_logger(__name__)
READ_WITHIN_SECONDS = 0.4
"""What is not read by then is shown as it was."""
TICK_SECONDS = 0.3
"""After the beginning of each second: by then processes have shared what they counted in the one before."""
LEAST_PAUSE_SECONDS = 0.05
"""Between two snapshots, on a machine so busy that one takes longer than a second."""
KEYS_SHARE = 0.5
"""Of the time, the most for readings of a few keys, which take as long however full the tables are."""
SHARED_SECONDS = 4
"""How many of the last seconds are read anew, because a process may share late."""
HEARTBEAT = b": no snapshot\n\n"
_history = History()


class Publisher:
    """The readings and the composer of a process whose board is watched."""

    def __init__(self) -> None:
        self._goods: PacedReading[GoodsState] = PacedReading("sale", self._read_goods, share=KEYS_SHARE)
        self._shop: PacedReading[ShopState] = PacedReading("shop", readings.read_shop)
        self._counts: PacedReading[list[SecondCounts] | None] = PacedReading(
            "counts", self._exchange_counts, share=KEYS_SHARE
        )
        self._composer = SnapshotComposer(_history)
        self._unsaved: list[Point] = []
        self._begun_second = 0

    async def start(self) -> None:
        """Take over the points that other processes have kept."""
        now = int(clock.now().timestamp())
        _history.merge(await event_loop.run_in_thread(_load_points, now, pool=BOARD_POOL), now=now)

    async def wait_for_next(self) -> None:
        """Wait until the next second's snapshot is due, which it is at once after one that took longer."""
        now = clock.now().timestamp()
        due_at = max(int(now), self._begun_second + 1) + TICK_SECONDS
        # The clock may have been set back since: then the second after the last one begins much later.
        await asyncio.sleep(min(max(LEAST_PAUSE_SECONDS, due_at - now), 1 + TICK_SECONDS))

    async def next_event(self) -> bytes:
        """The event of this second; a comment if it can't be composed."""
        at = clock.now()
        self._begun_second = int(at.timestamp())
        await asyncio.gather(
            *(
                one.refresh(within_seconds=READ_WITHIN_SECONDS)
                for one in (self._goods, self._shop, self._counts)
            )
        )
        try:
            return await event_loop.run_in_thread(self._compose, at, pool=BOARD_POOL)
        except Exception:
            log.exception("the board's snapshot can't be composed")
            return HEARTBEAT

    async def seed(self) -> bytes:
        """The event with the history, for viewers that begin to watch."""
        return await event_loop.run_in_thread(lambda: _encode("seed", _history.as_columns()), pool=BOARD_POOL)

    def _read_goods(self) -> GoodsState:
        shop = self._shop.value
        return readings.read_goods(shop.product_ids if shop else ())

    def _exchange_counts(self) -> list[SecondCounts] | None:
        while self._unsaved:
            history.save(self._unsaved.pop(0))
        second = int(clock.now().timestamp())
        return shared_counts.read(range(second - SHARED_SECONDS, second))

    def _compose(self, at: datetime) -> bytes:
        figures, point = self._composer.compose(
            at=at,
            goods=self._goods.value,
            shop=self._shop.value,
            counts=self._counts.value,
            ages={
                "sale": self._goods.age_seconds(),
                "shop": self._shop.age_seconds(),
                "counts": self._counts.age_seconds(),
            },
        )
        self._unsaved = [point]
        return _encode("snapshot", figures)


def _load_points(now: int) -> list[Point]:
    return history.load(now=now)


def _encode(event: str, data: Any) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (event.encode(), orjson.dumps(data))


def ended_event(reason: str) -> bytes:
    """The last event of a stream: why it ends."""
    return _encode("ended", {"reason": reason})


def forget_history() -> None:
    """Forget the points of this process (tests)."""
    _history.merge([], now=0)
