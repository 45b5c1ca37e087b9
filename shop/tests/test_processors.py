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
    finally:
        for process in processes:
            process.kill()
            process.wait()

    pinned = [(number, processors) for number, processors in results if number is not None]
    assert sorted(pinned) == [(number, [number]) for number in HERE]
    assert [processors for number, processors in results if number is None] == [HERE]


def test_the_processor_of_a_killed_process_is_free_again() -> None:
    first = _start()
    assert first.stdout
    number, _ = json.loads(first.stdout.readline())
    first.kill()
    first.wait()
    second = _start()
    assert second.stdout
    again, _ = json.loads(second.stdout.readline())
    second.kill()
    second.wait()

    assert again == number


def _start() -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, f"test-{os.getpid()}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
