"""The script of docs/integrate.md, which uses the Python client, against a web server of the shop."""

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from accounts.tests import api_keys
from events.feed import runs
from events.tests.following import reader, record
from foundation.tests.racing import wait_until
from scripts.stack import places
from scripts.tests import documented

CLIENT = str(places.PROJECT / "clients" / "python")
pytestmark = pytest.mark.django_db(transaction=True)


@contextmanager
def following(folder: Path, address: str, key: str):
    """The script, which is killed at the end of the block."""
    own = {"cwd": folder, "env": os.environ | {"SHOP": address, "KEY": key, "PYTHONPATH": CLIENT}}
    command = [sys.executable, "follow.py", "cursor.txt"]
    with (folder / "out").open("ab") as out, subprocess.Popen(command, stdout=out, **own) as process:
        try:
            yield
        finally:
            process.kill()


def test_the_script_gets_every_event_and_goes_on_after_it_was_killed(tmp_path, live_web):
    [script] = [
        block for block in documented.blocks(documented.page("integrate.md")) if block.title == "follow.py"
    ]
    (tmp_path / script.title).write_text(script.text)
    key = api_keys.make("events:read", maker=reader()).secret

    def seen():
        return [line.split()[1] for line in (tmp_path / "out").read_text().splitlines()]

    def written():
        events = runs.with_positions().exclude(feed_position=None).order_by("feed_position")
        return [str(id) for id in events.values_list("event_id", flat=True)]

    with following(tmp_path, live_web, key):
        for name in "ab":
            record(name)
        wait_until(lambda: len(seen()) == 2 and (tmp_path / "cursor.txt").exists(), seconds=30)
        record("c")
        wait_until(lambda: len(seen()) == 3, seconds=30)
    for name in "de":
        record(name)
    with following(tmp_path, live_web, key):
        wait_until(lambda: len(written()) == 5 and set(seen()) == set(written()), seconds=30)
    # What was printed, and whose cursor was not saved, may have come again.
    assert list(dict.fromkeys(seen())) == written()
