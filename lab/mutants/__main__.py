"""`make mutants`: plant small defects in the code that decides, one after the other, and run its tests.

The map of coverage is made at the first start, or again by MAP=1. What was judged stands in
`var/mutants/results.jsonl`, so that a second start goes on; a mutant is judged again when its function or the
list of its tests is another one.
"""

import argparse
import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from lab.mutants import coverage_map, mutations, running
from lab.mutants.equivalent import EQUIVALENT
from scripts.stack import SetupError, children, places, throwaway

SEED = 35
ALL = ("-m", "not boots and not long", "--numprocesses", "2", "--dist", "loadfile")
IN_PROCESS = (
    "-q",
    "-s",
    "--reuse-db",
    "--no-header",
    "-p",
    "no:cacheprovider",
    "-o",
    "tmp_path_retention_policy=none",
)
LEAST_CAUGHT = 0.9


def main() -> int:
    """The process behind `make mutants`; its exit code."""
    parser = argparse.ArgumentParser(prog="make mutants", description="Small defects, and the tests of them.")
    parser.add_argument("--count", type=int, default=150, help="mutants of all packages")
    parser.add_argument("--seed", type=int, default=SEED, help="draws the mutants")
    parser.add_argument("--only", default="", help="the mutants whose name has this text")
    parser.add_argument("--map", nargs="*", metavar="MODULE", help="make the map again, of these tests alone")
    asked = parser.parse_args()
    return children.run_command("mutants", lambda: _run(asked))


def _run(asked: argparse.Namespace) -> int:
    drawn = [one for one in mutations.draw(asked.count, asked.seed) if asked.only in one.key]
    coverage = coverage_map.Map()
    with (
        tempfile.TemporaryDirectory(prefix="firstcome-mutants-", ignore_cleanup_errors=True) as made,
        throwaway.servers(Path(made).resolve()) as settings,
    ):
        os.environ |= settings
        if asked.map is not None or not coverage.tests:
            _measure(coverage, asked.map or [])
        return _judge(drawn, coverage, Path(made))


def _measure(coverage: coverage_map.Map, modules: list[str]) -> None:
    folder = places.private_folder(coverage.file.parent)
    for part in folder.glob("part-*"):
        part.unlink()
    command = [sys.executable, "-m", "pytest", "-q", "-p", coverage_map.__name__, *(modules or ALL)]
    child = children.start(command)
    try:
        child.wait()
    finally:
        if child.poll() is None:
            children.stop(child, within_seconds=30)
    parts = sorted(folder.glob("part-*"))
    if not parts:
        raise SetupError("no test could be run under coverage")
    coverage.take(parts, modules)


def _judge(drawn: list[mutations.Mutant], coverage: coverage_map.Map, folder: Path) -> int:
    """Judge those that were not judged yet, print the table; 1 when too few are caught."""
    file = coverage.file.parent / "results.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    results: dict[str, dict[str, Any]] = {result["id"]: result for result in map(json.loads, lines)}
    waiting, ids = [], {}
    for mutant in drawn:
        tests = coverage.tests_of(mutant)
        function, diff = mutations.function_and_diff(mutant)
        ids[mutant] = mutations.digest(mutant.key, function, *sorted(tests))
        if ids[mutant] not in results:
            waiting.append((mutant, tests, diff))

    def judged(number: int, result: dict[str, Any]) -> None:
        mutant, _, diff = waiting[number]
        results[ids[mutant]] = {"id": ids[mutant], "key": mutant.key, "diff": diff, **result}
        with file.open("a") as appended:
            appended.write(f"{json.dumps(results[ids[mutant]])}\n")
        said = f"{result['verdict']} in {result['seconds']} s"
        print(f"{number + 1}/{len(waiting)} {said}: {mutant.key}", flush=True)

    if waiting:
        modules = sorted({test.partition("::")[0] for _, tests, _ in waiting for test in tests})
        runner = running.Runner(
            [(mutant, tests) for mutant, tests, _ in waiting],
            {name: test["seconds"] for name, test in coverage.tests.items()},
            folder=folder,
            judged=judged,
        )
        existing = [module for module in modules if (places.PROJECT / module).exists()]
        # A folder of its own: other runs delete old ones of the user's.
        options = [*IN_PROCESS, f"--basetemp={folder / 'tests'}", f"--hypothesis-seed={SEED}"]
        code = pytest.main([*options, *existing], plugins=[runner])
        if runner.error:
            raise runner.error
        if code == pytest.ExitCode.INTERRUPTED:
            raise KeyboardInterrupt
        if code != pytest.ExitCode.OK:
            raise SetupError("pytest can't collect the tests that the map names; MAP=1 makes it again")
    report, share = _report([(mutant, results[ids[mutant]]) for mutant in drawn])
    (file.parent / "report.md").write_text(report)
    print(report)
    return 0 if share >= LEAST_CAUGHT else 1


def _report(judged: list[tuple[mutations.Mutant, Mapping[str, Any]]]) -> tuple[str, float]:
    """The table by package with the survivors and their diffs, and the share of those caught."""
    counts = Counter((mutant.package, _kind(mutant, result)) for mutant, result in judged)
    rows = ["| package | mutants | caught | timed out | equivalent | survived |", "| --- |" + " ---: |" * 5]
    columns = (running.CAUGHT, running.TIMED_OUT, "equivalent", running.SURVIVED)
    for package in (*mutations.PACKAGES, "all"):
        of = [
            sum(n for (at, kind), n in counts.items() if package in (at, "all") and kind == column)
            for column in columns
        ]
        rows.append(f"| {package} | {sum(of)} | {' | '.join(map(str, of))} |")
    caught, seconds = of[0] + of[1], sum(result["seconds"] for _, result in judged)
    share = caught / max(1, caught + of[-1])
    rows += ["", f"{share:.0%} of those that are not equivalent are caught, in {seconds:.0f} s.", ""]
    for mutant, result in judged:
        if result["verdict"] == running.SURVIVED:
            why = EQUIVALENT.get(mutant.key) or f"{result['run']} of {result['of']} tests that run it"
            rows += [f"`{mutant.key}`, line {mutant.lines[0]}: {why}", "```diff", result["diff"], "```", ""]
    return "\n".join(rows), share


def _kind(mutant: mutations.Mutant, result: Mapping[str, Any]) -> str:
    is_equivalent = result["verdict"] == running.SURVIVED and mutant.key in EQUIVALENT
    return "equivalent" if is_equivalent else result["verdict"]


if __name__ == "__main__":
    sys.exit(main())
