"""Another process of the shop, for tests: on the test's database, with settings of its own."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from urllib.parse import urlsplit

import pytest
from django.db import connection

from foundation.idempotency.recorded_answers import KeyedCall

starts_another_process = pytest.mark.boots("another process of the shop", in_first_circle=True)
START = "import sys, django\ndjango.setup()\n"
# Counts one name in a transaction, and commits after the next line on standard input.
IN_FLIGHT = """
from foundation.idempotency import recorded_answers
from foundation.http import keyed_calls
from foundation.tests import tally, tally_urls

def count_and_wait():
    [position] = tally.count(["elsewhere"])
    print("ready", flush=True)
    sys.stdin.readline()
    return position

call = recorded_answers.KeyedCall(int(sys.argv[1]), sys.argv[2], sys.argv[3], tally_urls.counted)
keyed_calls.perform_blocking(call, lambda: recorded_answers.run_once(call, count_and_wait))
"""


def environment(**settings: str) -> dict[str, str]:
    """Of a process on the test's database, with these variables; a web server leaves payments to workers."""
    url = urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{connection.settings_dict['NAME']}").geturl()
    return os.environ | {"DATABASE_URL": url, "WEB_PAYMENTS": "0"} | settings


@contextmanager
def another_process(program: str, *arguments: str, **settings: str) -> Iterator["subprocess.Popen[str]"]:
    """A process that runs `program`, after it has printed `ready`; it is killed at the end.

    `settings` are environment variables.
    """
    with subprocess.Popen(
        [sys.executable, "-c", START + program, *arguments],
        env=environment(**settings),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert read_line(process) == "ready"
            yield process
        finally:
            process.kill()


def in_flight_elsewhere(call: KeyedCall, **settings: str) -> AbstractContextManager["subprocess.Popen[str]"]:
    """A process in the middle of `call`; end it by `finish`, or kill it."""
    return another_process(IN_FLIGHT, str(call.account_id), call.key_hash, call.fingerprint, **settings)


def read_line(process: "subprocess.Popen[str]") -> str:
    """The next line of the process's output; empty once it has ended."""
    assert process.stdout
    return process.stdout.readline().strip()


def send(process: "subprocess.Popen[str]", line: str):
    assert process.stdin
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


def finish(process: "subprocess.Popen[str]"):
    """Let the process continue, and wait until it has ended without an error."""
    process.communicate("go on\n", timeout=30)
    assert process.returncode == 0
