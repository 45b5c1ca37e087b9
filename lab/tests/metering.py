"""What an operation of this process costs, in figures that nothing else on the machine changes.

Counted is what the thread of the event loop does, and every thread that starts while the meter is open, but
not what threads repeat by the clock: how often it runs beside an operation is chance. So what was
read for many callers stays fresh, and no connection is old enough to be pinged.
"""

import asyncio
import gc
import sys
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import uvloop
from django.db import connections
from MySQLdb import _mysql
from MySQLdb.connections import Connection
from redis.connection import AbstractConnection

from foundation.concurrency import batching, event_loop, shared_read, thread_pool
from foundation.concurrency.thread_pool import LEADER_POOL
from foundation.db.mysql import base
from foundation.repeated_work import RepeatedWork
from foundation.tests import process_state
from foundation.tests.racing import wait_until

Step = Callable[[], object] | Coroutine[Any, Any, object]
Cost = Counter[str]
FIGURES = ("statements", "round_trips", "rows_written", "redis_commands", "python_calls")
STATUS = (
    b"SHOW SESSION STATUS WHERE Variable_name"
    b" IN ('Questions', 'Handler_write', 'Handler_update', 'Handler_delete')"
)
"""The statements of a session, and the rows that it wrote, changed and deleted, or tried to."""
EXCHANGES = ("__init__", "set_character_set", "autocommit", "query", "commit", "rollback", "ping")
"""The methods of a connection to the database that wait for an answer."""


class Meter:
    """Counts what is done from its opening on; `metering` opens it."""

    def __init__(self):
        # By thread, so that none loses what another counts.
        self._calls: Counter[int] = Counter()
        self._sent: Cost = Counter()
        self._mutex = threading.Lock()
        # The open connections of counted threads, and how often each was asked for its status.
        self._asked: dict[Connection, int] = {}
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)

    def cost(self, *steps: Step) -> Cost:
        """The figures of these steps, one after the other: a coroutine runs on the event loop, a function in
        this thread, and each is over once no thread of a pool works any more.
        """
        before = self._read()
        for step in steps:
            if callable(step):
                with self._profiled():
                    step()
            else:
                self._runner.run(self._await(step))
            wait_until(lambda: not any(pool.busy() or pool.waiting() for pool in list(thread_pool._pools)))
        after = self._read()
        return Counter({figure: after[figure] - before[figure] for figure in FIGURES})

    async def _await(self, step):
        with self._profiled():
            await step

    @contextmanager
    def _profiled(self):
        sys.setprofile(self._see)
        try:
            yield
        finally:
            sys.setprofile(None)

    def _see(self, frame, event, _):
        if event == "call":
            self._calls[threading.get_ident()] += "/tests/" not in frame.f_code.co_filename

    def _read(self):
        total = Counter(self._sent, python_calls=self._calls.total())
        for connection in list(self._asked):
            total.update(self._status(connection))
        return total

    def _status(self, connection):
        """What the session of this connection, which no thread uses now, has done so far."""
        self._asked[connection] += 1
        _mysql.connection.query(connection, STATUS)
        found = {name: int(value) for name, value in connection.store_result().fetch_row(0)}
        statements = found.pop("Questions") - self._asked[connection]
        return {"statements": statements, "rows_written": sum(found.values())}

    def _note(self, connection=None, **sent):
        """Note what this thread sends, if it is counted."""
        if threading.get_ident() in self._calls:
            with self._mutex:
                self._sent.update(sent)
                if connection is not None:
                    self._asked.setdefault(connection, 0)

    def _note_close(self, connection):
        if connection in self._asked:
            self._note(**self._status(connection))
            del self._asked[connection]

    def _watch(self, patch):
        def before(kind, name, note):
            original = getattr(kind, name)

            def noted(connection, *given, **named):
                note(connection, *given)
                return original(connection, *given, **named)

            patch.setattr(kind, name, noted)

        for name in EXCHANGES:
            before(Connection, name, lambda connection, *_: self._note(connection, round_trips=1))
        before(Connection, "close", self._note_close)
        before(AbstractConnection, "send_command", lambda *_: self._note(redis_commands=1))
        before(AbstractConnection, "pack_commands", lambda _, sent: self._note(redis_commands=len(sent)))


@contextmanager
def metering() -> Iterator[Meter]:
    """A meter that counts while this is open; the threads of pools, and connections, begin anew."""
    meter = Meter()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RepeatedWork, "start", lambda work: None)
        patch.setattr(shared_read, "time", SimpleNamespace(monotonic=lambda: 0.0, sleep=lambda seconds: None))
        patch.setattr(base, "IDLE_SECONDS_BEFORE_PING", float("inf"))
        meter._watch(patch)
        connections.close_all()
        process_state.forget_shared_reads()
        process_state.renew_threads()
        threading.setprofile(meter._see)
        # A collection calls Python as well.
        gc.disable()
        try:
            yield meter
        finally:
            gc.enable()
            threading.setprofile(None)
            meter._runner.close()
            connections.close_all()
            process_state.forget_shared_reads()
            process_state.renew_threads()


async def at_once(calls: Sequence[Coroutine[Any, Any, object]]):
    """Answer these calls, which share a batch: its leader starts once all of them wait, and what they
    leave to other threads once all are answered.
    """
    with _held(event_loop, "run_in_background"):
        with _held(LEADER_POOL, "start"):
            answers = asyncio.gather(*calls)
            async with asyncio.timeout(30):
                while sum(len(batcher._queue) for batcher in batching._busy) < len(calls):
                    await asyncio.sleep(0)
        await answers


@contextmanager
def _held(place, name):
    """Have this function start what it is given at the end of the block."""
    held: list[Callable[[], object]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(place, name, held.append)
        yield
    for work in held:
        getattr(place, name)(work)
