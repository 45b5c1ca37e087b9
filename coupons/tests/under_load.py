"""A load for tests that something befalls: processes that go on asking, killed and replaced at will.

    with Load(campaigns, accounts, folder=tmp_path, REDIS_URL=own_redis.url) as load:
        load.issue_more(10)
        load.replace_an_asker()
        load.issue_more(10)
    assert load.unforeseen() == []

Beside them the housekeeping runs, as beat runs it; and whatever processes a strategy needs.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from django.db import connection, connections

from coupons import maintenance
from coupons.models import Campaign, Coupon
from coupons.tests import asking_on
from scripts.stack import places
from shop.tests.racing import wait_until

ASKERS = 2
SWEEP_SECONDS = 1.0
LOOK_SECONDS = 0.03
RECOVERY_SECONDS = 20.0
"""How long after a fault until the next coupon is issued, at most: longer than any lease."""
LAST_SECONDS = 90.0
"""Until everybody has been told what they have, on a machine that has other things to do."""
PATIENCE_SECONDS = 15.0
"""No asking takes longer: the lock strategies and batchers wait 10 s, a database's lock 5 s."""
SERVANTS: dict[str, list[str]] = {"queue": ["manage.py", "run_issuer"]}
"""Processes that a strategy doesn't work without."""
NEED_NO_REDIS = {"group_commit", "pessimistic", "optimistic", "conditional_update", "unsafe"}
PASSING = {"unavailable", "overloaded", "conflict", "lock_not_acquired", "partner_failed", "queued"}
FORESEEN = asking_on.DEFINITE | PASSING


@dataclass(frozen=True, slots=True)
class Answer:
    """What one asking came to; `code` is the coupon's, if there was one."""

    campaign_id: int
    user_id: int
    outcome: str
    code: str | None
    began: float
    ended: float


class Load:
    """Several processes that ask for everybody's coupons, over and over, until the block ends."""

    def __init__(
        self, campaigns: Sequence[Campaign], user_ids: Sequence[int], *, folder: Path, **settings: str
    ) -> None:
        self._campaigns, self._user_ids, self._folder = campaigns, user_ids, folder
        self._environment = os.environ | {"DATABASE_URL": _this_database()} | settings
        self._environment |= {"DJANGO_SETTINGS_MODULE": "shop.settings"}
        self._asking: dict[int, subprocess.Popen[str]] = {}
        self._serving: dict[str, subprocess.Popen[str]] = {}
        self._is_over = threading.Event()
        self._sweeper = threading.Thread(target=self._sweep_on)
        self.sweeping_failed: list[str] = []

    def __enter__(self) -> "Load":
        for strategy in {campaign.strategy for campaign in self._campaigns}:
            self._serve(strategy)
        for number in range(ASKERS):
            self._start_asker(number)
        self._sweeper.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._is_over.set()
        self._sweeper.join()
        for process in [*self._asking.values(), *self._serving.values()]:
            process.kill()
            process.communicate()

    def issue_more(self, count: int) -> None:
        """Return once that many more coupons of each campaign are issued, each soon after the one before."""
        before = self._issued()
        goal = Counter({one.pk: min(one.quantity, before[one.pk] + count) for one in self._campaigns})
        while not (issued := self._issued()) >= goal:
            _wait_until(lambda issued=issued: self._issued() != issued)

    def answer_more(self, count: int) -> None:
        """Return once that many more were told something, whatever it was."""
        goal = self._answered() + count
        _wait_until(lambda: self._answered() >= goal)

    def left(self) -> dict[int, int]:
        """How many coupons of each campaign are still to be had."""
        issued = self._issued()
        return {one.pk: one.quantity - issued[one.pk] for one in self._campaigns}

    def issue_all(self) -> None:
        """Return once every campaign is issued to the last, and everybody has been told what they have."""
        self.issue_more(max(campaign.quantity for campaign in self._campaigns))
        for process in self._asking.values():
            self._tell(process, "rest")
        # Or one would still ask for an account that another has asked for the last time.
        _wait_until(lambda: all(map(self._rests, self._asking)))
        for process in self._asking.values():
            self._tell(process, "once more")
        for process in self._asking.values():
            output, _ = process.communicate(timeout=LAST_SECONDS)
            assert process.returncode == 0, output

    def _tell(self, process: "subprocess.Popen[str]", word: str) -> None:
        assert process.stdin
        process.stdin.write(f"{word}\n")
        process.stdin.flush()

    def _rests(self, number: int) -> bool:
        return asking_on.RESTS in (self._folder / f"asker-{number}.log").read_text()

    def replace_an_asker(self) -> None:
        """Kill a process in the middle of what it does, and start another one instead."""
        number = min(self._asking)
        process = self._asking.pop(number)
        assert process.poll() is None
        process.kill()
        process.communicate()
        self._start_asker(number + ASKERS)

    def replace_servants(self) -> None:
        """The same for the processes that strategies need."""
        for strategy, process in [*self._serving.items()]:
            assert process.poll() is None
            process.kill()
            process.communicate()
            self._serve(strategy)

    def answers(self) -> list[Answer]:
        """All that anybody was told so far, in the order of being told."""
        told = [Answer(*json.loads(line)) for line in self._lines()]
        return sorted(told, key=lambda answer: answer.ended)

    def unforeseen(self) -> list[Answer]:
        """Answers that nobody should get, whatever breaks, or that took too long."""
        return [
            one
            for one in self.answers()
            if one.outcome not in FORESEEN or one.ended - one.began > PATIENCE_SECONDS
        ]

    def untrue(self) -> list[Answer]:
        """Answers with a coupon that isn't the account's."""
        rows = Coupon.objects.filter(campaign__in=self._campaigns)
        owned = set(rows.values_list("campaign_id", "account_id", "code"))
        told = [one for one in self.answers() if one.code is not None]
        return [one for one in told if (one.campaign_id, one.user_id, one.code) not in owned]

    def definite(self, campaign: Campaign) -> Counter[str]:
        """What the accounts were left with: `coupon`, or what the last word was that they had."""
        last = {one.user_id: one for one in self.answers() if one.campaign_id == campaign.pk}
        return Counter("coupon" if one.code else one.outcome for one in last.values())

    def _start_asker(self, number: int) -> None:
        part = number % ASKERS
        first = len(self._user_ids) * part // ASKERS
        plan = {
            "campaign_ids": [campaign.pk for campaign in self._campaigns],
            "everyone": [*self._user_ids[first:], *self._user_ids[:first]],
            "last": self._user_ids[part::ASKERS],
        }
        self._asking[number] = self._start(f"asker-{number}", "-m", asking_on.__name__, json.dumps(plan))

    def _serve(self, strategy: str) -> None:
        if strategy in SERVANTS:
            self._serving[strategy] = self._start(f"servant-{time.monotonic()}", *SERVANTS[strategy])

    def _start(self, name: str, *arguments: str) -> "subprocess.Popen[str]":
        with (
            (self._folder / f"{name}.answers").open("w") as answers,
            (self._folder / f"{name}.log").open("w") as log,
        ):
            return subprocess.Popen(
                [sys.executable, *arguments],
                cwd=places.PROJECT,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=answers,
                stderr=log,
                text=True,
            )

    def _answered(self) -> int:
        return sum(1 for _ in self._lines())

    def _lines(self) -> Iterator[str]:
        """What askers wrote; one that was killed, or is at it, may have left half a line."""
        for path in sorted(self._folder.glob("asker-*.answers")):
            yield from (line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n"))

    def _issued(self) -> Counter[int]:
        rows = Coupon.objects.filter(campaign__in=self._campaigns).values_list("campaign_id", flat=True)
        return Counter(rows)

    def _sweep_on(self) -> None:
        try:
            while not self._is_over.wait(SWEEP_SECONDS):
                self._sweep()
        finally:
            connections.close_all()

    def _sweep(self) -> None:
        try:
            maintenance.sweep()
        except Exception as error:
            self.sweeping_failed.append(repr(error))


def _this_database() -> str:
    url = urlsplit(os.environ["DATABASE_URL"])
    return url._replace(path=f"/{connection.settings_dict['NAME']}").geturl()


def _wait_until(condition: Callable[[], bool]) -> None:
    """`wait_until`, which looks less often: each look here costs what the load could use."""
    pause = threading.Event()
    wait_until(lambda: pause.wait(LOOK_SECONDS) or condition(), seconds=RECOVERY_SECONDS)
