"""Each web process is pinned to a processor of its own, as long as one is free."""

import json
import os
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.boots("a Python process")]

PROGRAM = """
import json, os, sys
from shop.server import processors
number = processors.pin_to_free_processor(sys.argv[1])
print(json.dumps([number, sorted(os.sched_getaffinity(0))]), flush=True)
sys.stdin.read()
"""
HERE = sorted(os.sched_getaffinity(0))


def test_each_process_has_its_own_processor_and_one_without_runs_anywhere() -> None:
    processes = [_start() for _ in range(len(HERE) + 1)]
    try:
        results = [json.loads(process.stdout.readline()) for process in processes if process.stdout]
        pinned = [(number, processors) for number, processors in results if number is not None]
        assert sorted(pinned) == [(number, [number]) for number in HERE]
        assert [processors for number, processors in results if number is None] == [HERE]
        # The processor of a killed process is free again.
        killed = next(index for index, (number, _) in enumerate(results) if number is not None)
        processes[killed].kill()
        processes[killed].wait()
        processes.append(_start())
        assert processes[-1].stdout
        assert json.loads(processes[-1].stdout.readline())[0] == results[killed][0]
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _start() -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, f"test-{os.getpid()}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
