"""A pytest plugin that records the statements of a run, for `python -m scripts.scale.statements`.

    RECORD_STATEMENTS=file.json pytest -p scripts.scale.statements.recording coupons/tests/test_issuing.py

The file gets each statement once, without its values, and for each transaction the statements that shared it.
Statements of other processes, and those that Django sends around migrations, are not recorded.
"""

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from scripts.scale.statements import fingerprints

FILE = "RECORD_STATEMENTS"
Execute = Callable[[str, Any, bool, dict[str, Any]], Any]


class Recorder:
    """The statements of all connections of this process, and which of them shared a transaction."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._statements: set[str] = set()
        self._transactions: dict[int, set[str]] = {}
        # Kept, so that no other block gets the identity of one that has ended.
        self._blocks: list[Any] = []
        self.is_recording = False

    def watch(self, connection: BaseDatabaseWrapper, **_: Any) -> None:
        """Record what this connection sends from now on."""
        if self not in connection.execute_wrappers:
            connection.execute_wrappers.append(self)

    def __call__(self, execute: Execute, sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        if self.is_recording:
            self._note(fingerprints.of(sql), context["connection"])
        return execute(sql, params, many, context)

    def _note(self, statement: str, connection: BaseDatabaseWrapper) -> None:
        # What the tests' own transaction wraps is no transaction of the shop's.
        blocks = [block for block in connection.atomic_blocks if not getattr(block, "_from_testcase", False)]
        with self._mutex:
            self._statements.add(statement)
            if blocks:
                if id(blocks[0]) not in self._transactions:
                    self._blocks.append(blocks[0])
                self._transactions.setdefault(id(blocks[0]), set()).add(statement)

    def content(self) -> dict[str, Any]:
        """What was recorded, in an order that is the same in every run."""
        shared = {tuple(sorted(statements)) for statements in self._transactions.values()}
        return {"statements": sorted(self._statements), "transactions": sorted(shared)}


recorder = Recorder()


def pytest_configure() -> None:
    if os.environ.get(FILE):
        connection_created.connect(recorder.watch)


def pytest_runtest_call() -> None:
    recorder.is_recording = True


def pytest_runtest_teardown() -> None:
    recorder.is_recording = False


def pytest_sessionfinish() -> None:
    if os.environ.get(FILE):
        Path(os.environ[FILE]).write_text(json.dumps(recorder.content(), indent=1))
