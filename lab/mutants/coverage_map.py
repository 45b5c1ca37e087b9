"""The map of coverage: which tests run which lines of the mutated packages, and their seconds.

A pytest plugin records it (`-p lab.mutants.coverage_map`), in each process of a run. A test that starts a
process is left out, because that may run the code, and without the mutant.
"""

import itertools
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import coverage
import pytest

from lab.mutants import mutations
from scripts.stack.places import PROJECT, private_folder, state, write_whole

STARTS = ("subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.system")
OTHER_PROGRAMS = ("scripts.simulators", "localstripe", "redis-server")
"""They run nothing of the shop."""


class Map:
    """What was recorded, a line of JSON for each test. Empty when the code has changed since."""

    def __init__(self) -> None:
        code = mutations.digest(*mutations.sources().values())
        self.file = state() / "mutants" / f"map-{code}.jsonl"
        self.tests: dict[str, dict[str, Any]] = {}
        self._read(self.file)

    def _read(self, file: Path) -> None:
        lines = file.read_text().splitlines() if file.exists() else []
        self.tests |= {test["id"]: test for test in map(json.loads, lines)}

    def take(self, parts: Sequence[Path], modules: Sequence[str]) -> None:
        """Put what these parts recorded in the place of what was known of their modules, or of all tests."""
        again = tuple(modules) or ("",)
        self.tests = {name: test for name, test in self.tests.items() if not name.startswith(again)}
        for part in parts:
            self._read(part)
        write_whole(self.file, "".join(f"{json.dumps(test)}\n" for test in self.tests.values()))

    def tests_of(self, mutant: mutations.Mutant) -> list[str]:
        """The tests that run a line of it, shortest first: those of its name, then one of each module."""
        lines = set(mutant.lines)
        found = [test for test in self.tests.values() if lines & set(test["lines"].get(mutant.path, ()))]
        turns: Counter[str] = Counter()
        order: list[tuple[int, float, str]] = []
        for seconds, name in sorted((test["seconds"], test["id"]) for test in found):
            module = name.partition("::")[0]
            turns[module] += 1
            order.append((0 if mutant.file.stem in module else turns[module], seconds, name))
        return [name for _, _, name in sorted(order)]


class Recorder:
    """Measures one process of a run."""

    def __init__(self, part: Path) -> None:
        self.part, self.starts = part, 0
        self.seconds: dict[str, float] = {}
        self.unfit: set[object] = set()
        """Tests that failed or were skipped, and fixtures that started a process for several tests."""
        include = [str(PROJECT / path) for path in mutations.sources()]
        self.coverage = coverage.Coverage(data_file=None, include=include, config_file=False, messages=False)
        sys.addaudithook(self._count)
        self.coverage.start()

    def _count(self, event: str, arguments: Sequence[object]) -> None:
        if event in STARTS:
            self.starts += not any(name in str(arguments) for name in OTHER_PROGRAMS)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Generator[None, object, object]:
        before = self.starts
        result = yield
        if self.starts > before:
            self.unfit.add(fixturedef)
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if not report.passed:
            self.unfit.add(report.nodeid)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: Any) -> Generator[None, object, object]:
        self.coverage.switch_context(item.nodeid)
        before, began = self.starts, time.perf_counter()
        result = yield
        used = itertools.chain([item.nodeid], *item._fixtureinfo.name2fixturedefs.values())
        if self.starts == before and self.unfit.isdisjoint(used):
            self.seconds[item.nodeid] = round(time.perf_counter() - began, 3)
        return result

    def pytest_sessionfinish(self) -> None:
        self.coverage.stop()
        data = self.coverage.get_data()
        lines: dict[str, dict[str, list[int]]] = {name: {} for name in self.seconds}
        for file in data.measured_files():
            path = str(Path(file).relative_to(PROJECT))
            for line, tests in data.contexts_by_lineno(file).items():
                for test in lines.keys() & set(tests):
                    lines[test].setdefault(path, []).append(line)
        found = [{"id": name, "seconds": self.seconds[name], "lines": lines[name]} for name in lines]
        self.part.write_text("".join(f"{json.dumps(test)}\n" for test in found))


def pytest_configure(config: pytest.Config) -> None:
    """Record in the processes that run tests: all but the one that divides them."""
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker or not config.getoption("numprocesses", None):
        folder = private_folder(state() / "mutants")
        config.pluginmanager.register(Recorder(folder / f"part-{worker or 'main'}.jsonl"))
