"""Runs the tests of each mutant in a fork of a process that has collected them once.

A pytest plugin. In the fork the functions that the mutant changes get other code, wherever they are known
already; the fork connects to the databases itself and is killed when it hangs.
"""

import contextlib
import gc
import importlib
import multiprocessing
import os
import resource
import signal
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest
from _pytest.runner import runtestprotocol
from django.core.management import call_command
from django.db import OperationalError, connection
from django.test import utils
from pytest_django.plugin import blocking_manager_key

from lab.mutants.mutations import Mutant, changed_codes
from scripts.stack import SetupError, children

LONGEST_SECONDS = 90.0
"""A fork is killed then: the mutant hangs, which is noticed as well."""
LAST_END_SECONDS = 75.0
"""A test that would end later is not begun."""
MOST_SECONDS = 4 * LONGEST_SECONDS
"""For a mutant, where tests fail without it too."""
MOST_UNFIT = 20
MOST_BYTES = 8 << 30
DATABASE_SECONDS = 300.0
PASSED, BROKEN, STOPPED, FAILED = range(4)
"""Exit codes of a fork. BROKEN is one that could not even begin, or that Python ended."""
CAUGHT, TIMED_OUT, SURVIVED = "caught", "timed out", "survived"
NOTICED = (CAUGHT, TIMED_OUT)
SIMULATORS = {"gateway_process", "data_platform_process", "partner_process", "localstripe"}
"""Fixtures of a session, processes that run nothing of the shop."""
OTHERS = "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()"
SETUP_DATABASES = utils.setup_databases
"""What makes the database. pytest-django's call of it does nothing: a fork finds it made."""
Swaps = Sequence[tuple[FunctionType, Any]]


class Runner:
    """Judges each mutant by its tests, in their order, and gives `judged` what came of it."""

    def __init__(
        self,
        mutants: Sequence[tuple[Mutant, Sequence[str]]],
        seconds: dict[str, float],
        folder: Path,
        judged: Callable[[int, dict[str, object]], object],
    ) -> None:
        self.mutants, self.seconds, self.judged = mutants, seconds, judged
        self.log, self.begun = folder / "fork.log", folder / "fork.begun"
        self.unfit: set[str] = set()
        self.error: Exception | None = None
        self.databases = 0

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self.session: Any = session
        self.blocker = session.config.stash[blocking_manager_key]
        try:
            self._judge_all({item.nodeid: item for item in session.items})
        except (SetupError, OSError) as error:
            self.error = error
        return True

    def _judge_all(self, items: dict[str, pytest.Item]) -> None:
        files = {str(mutant.file): importlib.import_module(mutant.module) for mutant, _ in self.mutants}
        gc.unfreeze()  # of what is frozen, the collector lists nothing
        functions = [found for found in gc.get_objects() if isinstance(found, FunctionType)]
        functions = [found for found in functions if found.__code__.co_filename in files]
        utils.setup_databases = lambda **_: []
        self._use_database()
        self._start_simulators(items.values())
        gc.freeze()
        for number, (mutant, names) in enumerate(self.mutants):
            swaps = [
                (found, new)
                for old, new in changed_codes(mutant)
                for found in functions
                if found.__code__ == old and found.__code__.co_filename == str(mutant.file)
            ]
            if not swaps:
                raise SetupError(f"no function has the code that this mutant changes: {mutant.key}")
            self.judged(number, self._judge(swaps, [items[name] for name in names if name in items]))

    def _start_simulators(self, items: Iterable[Any]) -> None:
        """Start them here, once for all forks."""
        warnings.simplefilter("ignore", pytest.PytestWarning)  # pytest expects these calls while a test runs
        self.session._setupstate.setup(self.session)
        for item in items:
            for name in SIMULATORS & set(item.fixturenames):
                item._request._get_active_fixturedef(name)

    def _judge(self, swaps: Swaps, tests: list[pytest.Item]) -> dict[str, object]:
        """The verdict. A test that fails without the mutant as well has no say in it, nor in later ones."""
        began = time.monotonic()
        tests = [test for test in tests if test.nodeid not in self.unfit]
        code: int | None = PASSED
        begun: list[pytest.Item] = []
        while tests and time.monotonic() - began < MOST_SECONDS:
            code, begun = self._run_in_fork(swaps, tests)
            if code not in (PASSED, STOPPED) and not begun:
                raise SetupError(f"a fork ended ({code}) before its first test; see {self.log}")
            if code in (PASSED, STOPPED):
                break
            without, begun_without = self._run_in_fork([], begun)
            if without == PASSED:
                break
            unfit = begun_without[-1]
            tests.remove(unfit)
            self.unfit.add(unfit.nodeid)
            said = f"{unfit.nodeid} fails without the mutant too:\n{children.tail(self.log)}"
            print(said, flush=True)
            if len(self.unfit) > MOST_UNFIT:
                raise SetupError(f"too many tests fail without a mutant; the last: {said}")
            code = PASSED
        verdict = {PASSED: SURVIVED, STOPPED: SURVIVED, None: TIMED_OUT}.get(code, CAUGHT)
        by = begun[-1].nodeid if verdict in NOTICED else ""
        seconds = round(time.monotonic() - began, 1)
        return {"verdict": verdict, "by": by, "run": len(begun), "of": len(tests), "seconds": seconds}

    def _run_in_fork(
        self, swaps: Swaps, tests: Sequence[pytest.Item]
    ) -> tuple[int | None, list[pytest.Item]]:
        """The exit code, and the tests that it has begun."""
        code = self._fork(partial(self._run, swaps, tests))
        begun = [tests[int(number)] for number in self.begun.read_text().split()]
        if code is None:  # a loop without end has written for minutes, and is rolled back for as many
            self._use_database()
        return code, begun

    def _run(self, swaps: Swaps, tests: Sequence[pytest.Item]) -> int:
        """Run the tests until one fails. What was set up for the session stays: it is the parent's."""
        self._empty_database()
        for function, code in swaps:
            function.__code__ = code
        began, result = time.monotonic(), PASSED
        for number, test in enumerate(tests):
            if swaps and time.monotonic() - began + self.seconds[test.nodeid] > LAST_END_SECONDS:
                result = STOPPED
                continue
            with self.begun.open("a") as begun:
                begun.write(f"{number} ")
            reports = runtestprotocol(test, nextitem=self.session, log=False)
            if failed := [report for report in reports if report.failed]:
                print(*(report.longreprtext for report in failed), sep="\n", flush=True)
                return FAILED
        return result

    def _fork(self, work: Callable[[], int], *, within_seconds: float = LONGEST_SECONDS) -> int | None:
        """The exit code of a process that does it; None when that took too long."""
        self.begun.write_text("")
        fork = multiprocessing.get_context("fork").Process(target=self._child, args=[work])
        fork.start()
        try:
            for _ in range(int(within_seconds)):  # the time that this process is stopped for doesn't count
                fork.join(1)
                if fork.exitcode is not None:
                    break
            code = fork.exitcode
        finally:
            fork.kill()
            fork.join()
        if code == BROKEN:
            raise SetupError(f"a fork could not run tests; the end of {self.log}:\n{children.tail(self.log)}")
        return code

    def _child(self, work: Callable[[], int]) -> None:
        code = BROKEN
        try:
            children.end_with_parent(signal.SIGKILL)
            resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
            output = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.dup2(output, 1)
            os.dup2(output, 2)
            code = work()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)

    def _use_database(self) -> None:
        """Make one in a fork, for this process may have no connection, nor the thread that watches one."""
        self.databases += 1
        connection.settings_dict["TEST"]["NAME"] = f"test_firstcome_{self.databases}"
        self._fork(self._make_database, within_seconds=DATABASE_SECONDS)
        connection.settings_dict["NAME"] = connection.settings_dict["TEST"]["NAME"]

    def _make_database(self) -> int:
        with self.blocker.unblock():
            SETUP_DATABASES(verbosity=0, interactive=False, serialized_aliases=[])
        return PASSED

    def _empty_database(self) -> None:
        """A fork that was killed leaves rows, and connections that the server still serves."""
        with self.blocker.unblock(), connection.cursor() as cursor:
            cursor.execute(OTHERS)
            for (other,) in cursor.fetchall():
                with contextlib.suppress(OperationalError):  # gone meanwhile
                    cursor.execute("KILL %s", [other])
            call_command("flush", interactive=False, verbosity=0)
