"""Log lines of web processes are written by a thread: complete, in order, and never waited for."""

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from threading import Thread
from typing import IO

import pytest

from shop.observability import logs
from shop.observability.logs import BackgroundHandler
from shop.tests.racing import wait_until

LINE = "x" * 1000


@pytest.fixture
def pipe() -> Iterator[tuple[IO[str], IO[str]]]:
    """Both ends of a pipe, which holds 64 KiB; the write end last."""
    read_end, write_end = os.pipe()
    with os.fdopen(read_end) as lines, os.fdopen(write_end, "w") as stream:
        yield lines, stream


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    own = logging.getLogger(logs.__name__)
    own.propagate = False
    yield own
    own.propagate = True
    own.handlers = []


def test_a_pipe_that_is_not_read_delays_no_caller_and_holds_so_many_lines(
    pipe: tuple[IO[str], IO[str]], logger: logging.Logger
) -> None:
    lines, stream = pipe
    handler = BackgroundHandler(stream, most_lines=100)
    logger.addHandler(handler)
    started = time.monotonic()
    for _ in range(1000):
        logger.warning(LINE)
    assert time.monotonic() - started < 1

    read: list[str] = []
    Thread(target=lambda: read.extend(iter(lines.readline, "")), daemon=True).start()

    wait_until(lambda: not handler._lines.unfinished_tasks)
    logger.warning("the last")
    wait_until(lambda: read[-1:] == ["the last\n"])
    assert 100 <= read.count(f"{LINE}\n") == len(read) - 1 < 500


@pytest.mark.boots("a Python process")
def test_the_end_of_the_process_waits_a_moment_for_its_lines() -> None:
    program = (
        "import logging, django; django.setup()\n"
        "from shop.observability import logs; logs.write_in_background()\n"
        "for number in range(3): logging.getLogger('shop').warning('line %s', number)"
    )
    command = [sys.executable, "-c", program]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert [json.loads(line)["event"] for line in ended.stderr.splitlines()] == ["line 0", "line 1", "line 2"]


@pytest.mark.boots("a Python process")
def test_a_process_whose_lines_are_not_read_ends_all_the_same() -> None:
    program = (
        "import logging, django; django.setup()\n"
        "from shop.observability import logs; logs.write_in_background()\n"
        f"for number in range(500): logging.getLogger('shop').warning('{LINE}')"
    )
    with subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE) as process:
        assert process.wait(timeout=60) == 0
