"""Two times of a database: a commit of one row, and the hand-over of a row's lock between two processes.

Measured on a table of its own, which is removed at the end.
"""

import multiprocessing
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from statistics import median
from typing import Any

from scripts.stack import database
from scripts.stack.instance import Instance

COMMITS, TURNS = 200, 150
HOLD_SECONDS = 0.002
"""Long enough for the other process to wait for the lock by then."""
START_SECONDS = 30
CREATE = "CREATE TABLE scale_probe (id INT PRIMARY KEY, number INT NOT NULL) ENGINE=InnoDB"
DROP = "DROP TABLE IF EXISTS scale_probe"
FILL = "INSERT INTO scale_probe VALUES (1, 0)"
CHANGE = "UPDATE scale_probe SET number = number + 1 WHERE id = 1"
LOCK = "SELECT number FROM scale_probe WHERE id = 1 FOR UPDATE"
Turn = tuple[float, float, float]
"""When a process asked for the lock, when it had it, and when it sent its COMMIT."""


@contextmanager
def table(instance: Instance) -> Iterator[None]:
    """The table with its row, while the block runs."""
    with database.connected(instance) as connection, connection.cursor() as cursor:
        for statement in (DROP, CREATE, FILL):
            cursor.execute(statement)
        try:
            yield
        finally:
            cursor.execute(DROP)


def commit_seconds(instance: Instance) -> float:
    """The median time of a COMMIT after a change of one row, its round trip included."""
    taken = []
    with database.connected(instance) as connection, connection.cursor() as cursor:
        for _ in range(COMMITS):
            cursor.execute("BEGIN")
            cursor.execute(CHANGE)
            began_at = time.monotonic()
            cursor.execute("COMMIT")
            taken.append(time.monotonic() - began_at)
    return median(taken)


def handover_seconds(instance: Instance) -> float:
    """The median time from one process' COMMIT until the other, which waits for the lock, has its reply.

    The transactions change nothing, so that no flush is in it.
    """
    context = multiprocessing.get_context("spawn")
    start, results = context.Barrier(2), context.SimpleQueue()
    processes = [context.Process(target=_take_turns, args=(instance, start, results)) for _ in range(2)]
    for process in processes:
        process.start()
    turns = [turn for _ in processes for turn in results.get()]
    for process in processes:
        process.join()
    return median(handovers(turns))


def handovers(turns: Sequence[Turn]) -> list[float]:
    """The hand-overs among the turns of two processes: those in which the next one was already waiting."""
    ordered = sorted(turns, key=lambda turn: turn[1])
    return [
        granted_at - released_at
        for (_, _, released_at), (asked_at, granted_at, _) in pairwise(ordered)
        if asked_at < released_at < granted_at
    ]


def _take_turns(instance: Instance, start: Any, results: Any) -> None:
    turns: list[Turn] = []
    with database.connected(instance) as connection, connection.cursor() as cursor:
        start.wait(START_SECONDS)
        for _ in range(TURNS):
            cursor.execute("BEGIN")
            asked_at = time.monotonic()
            cursor.execute(LOCK)
            granted_at = time.monotonic()
            time.sleep(HOLD_SECONDS)
            released_at = time.monotonic()
            cursor.execute("COMMIT")
            turns.append((asked_at, granted_at, released_at))
    results.put(turns)
