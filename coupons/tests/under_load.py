"""A load for tests of faults: processes that request coupons continuously, and can be killed and replaced.

    with Load(campaigns, accounts, folder=tmp_path, REDIS_URL=own_redis.url) as load:
        load.issue_more(10)
        load.replace_a_client()
        load.issue_more(10)
    assert load.unforeseen() == []

Beside them run the housekeeping, as beat runs it, and the processes that a strategy needs.
"""

import json
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from django.db import connections

from coupons import tasks
from coupons.models import Coupon
from coupons.tests import asking_on
from coupons.tests.own_issuer import OwnIssuer
from foundation.tests.racing import wait_until
from foundation.tests.second_process import environment, send
from scripts.stack import places

CLIENTS = 2
SWEEP_SECONDS = 1.0
LOOK_SECONDS = 0.03
RECOVERY_SECONDS = 20.0
"""The longest time from a fault to the next coupon: longer than any lease."""
LAST_SECONDS = 90.0
"""The longest time until every account's result is final, on a busy machine."""
PATIENCE_SECONDS = 15.0
"""The longest request: the lock strategies and batchers wait 10 s, a database's lock 5 s."""
NEED_NO_REDIS = {"group_commit", "pessimistic", "optimistic", "conditional_update", "unsafe"}
PASSING = {"unavailable", "overloaded", "conflict", "lock_not_acquired", "partner_failed", "queued"}
FORESEEN = asking_on.DEFINITE | PASSING


@dataclass(frozen=True, slots=True)
class Answer:
    """The outcome of one request; `code` is the coupon's, if there was one."""

    campaign_id: int
    user_id: int
    outcome: str
    code: str | None
    began: float
    ended: float


class Load:
    """Several processes that request the coupons of all accounts repeatedly, until the block ends."""

    def __init__(self, campaigns, user_ids, *, folder, **settings):
        self._campaigns, self._user_ids, self._folder = campaigns, user_ids, folder
        self._environment = environment(**settings) | {"DJANGO_SETTINGS_MODULE": "shop.settings"}
        self._asking: dict[int, subprocess.Popen[str]] = {}
        has_queue = any(campaign.strategy == "queue" for campaign in campaigns)
        self._issuers = [OwnIssuer(folder, **settings)] if has_queue else []
        self._is_over = threading.Event()
        self._sweeper = threading.Thread(target=self._sweep_on)
        self.sweeping_failed: list[str] = []

    def __enter__(self):
        for issuer in self._issuers:
            issuer.start()
        for number in range(CLIENTS):
            self._start_client(number)
        self._sweeper.start()
        return self

    def __exit__(self, *error):
        self._is_over.set()
        self._sweeper.join()
        for issuer in self._issuers:
            issuer.kill()
        for process in self._asking.values():
            process.kill()
            process.communicate()

    def issue_more(self, count: int):
        """Return once so many more coupons of each campaign are issued, each soon after the one before."""
        before = self._issued()
        goal = Counter({one.pk: min(one.quantity, before[one.pk] + count) for one in self._campaigns})
        while not (issued := self._issued()) >= goal:
            _wait_until(lambda issued=issued: self._issued() != issued)

    def answer_more(self, count: int):
        """Return once so many more requests were answered, whatever the answer."""
        goal = self._answered() + count
        _wait_until(lambda: self._answered() >= goal)

    def left(self) -> dict[int, int]:
        """How many coupons of each campaign are left."""
        issued = self._issued()
        return {one.pk: one.quantity - issued[one.pk] for one in self._campaigns}

    def issue_all(self):
        """Return once every campaign is issued completely, and every account's result is final."""
        self.issue_more(max(campaign.quantity for campaign in self._campaigns))
        for process in self._asking.values():
            send(process, "rest")
        # Otherwise a process might still send requests for an account whose final one another has sent.
        _wait_until(lambda: all(map(self._rests, self._asking)))
        for process in self._asking.values():
            send(process, "once more")
        for process in self._asking.values():
            output, _ = process.communicate(timeout=LAST_SECONDS)
            assert process.returncode == 0, output

    def _rests(self, number):
        return asking_on.RESTS in (self._folder / f"client-{number}.log").read_text()

    def replace_a_client(self):
        """Kill a process that sends requests, and start another one instead."""
        number = min(self._asking)
        process = self._asking.pop(number)
        assert process.poll() is None
        process.kill()
        process.communicate()
        self._start_client(number + CLIENTS)

    def replace_servants(self):
        """Kill and replace the processes that strategies need."""
        for issuer in self._issuers:
            assert issuer.child and issuer.child.poll() is None
            issuer.kill()
            issuer.start()

    def answers(self) -> list[Answer]:
        """All answers so far, in their order."""
        answers = [Answer(*json.loads(line)) for line in self._lines()]
        return sorted(answers, key=lambda answer: answer.ended)

    def unforeseen(self) -> list[Answer]:
        """Answers that no request may get, whatever breaks, or that took too long."""
        return [
            one
            for one in self.answers()
            if one.outcome not in FORESEEN or one.ended - one.began > PATIENCE_SECONDS
        ]

    def untrue(self) -> list[Answer]:
        """Answers with a coupon that isn't the account's."""
        rows = Coupon.objects.filter(campaign__in=self._campaigns)
        owned = set(rows.values_list("campaign_id", "account_id", "code"))
        with_code = [answer for answer in self.answers() if answer.code is not None]
        return [one for one in with_code if (one.campaign_id, one.user_id, one.code) not in owned]

    def definite(self, campaign) -> Counter[str]:
        """The final result of each account, counted: `coupon`, or its last answer."""
        last = {one.user_id: one for one in self.answers() if one.campaign_id == campaign.pk}
        return Counter("coupon" if one.code else one.outcome for one in last.values())

    def _start_client(self, number):
        part = number % CLIENTS
        first = len(self._user_ids) * part // CLIENTS
        plan = {
            "campaign_ids": [campaign.pk for campaign in self._campaigns],
            "everyone": [*self._user_ids[first:], *self._user_ids[:first]],
            "last": self._user_ids[part::CLIENTS],
        }
        name = self._folder / f"client-{number}"
        with Path(f"{name}.answers").open("w") as answers, Path(f"{name}.log").open("w") as log:
            self._asking[number] = subprocess.Popen(
                [sys.executable, "-m", asking_on.__name__, json.dumps(plan)],
                cwd=places.PROJECT,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=answers,
                stderr=log,
                text=True,
            )

    def _answered(self):
        return sum(1 for _ in self._lines())

    def _lines(self):
        """The complete lines that the processes wrote; a killed one may have left half a line."""
        for path in sorted(self._folder.glob("client-*.answers")):
            yield from (line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n"))

    def _issued(self):
        rows = Coupon.objects.filter(campaign__in=self._campaigns).values_list("campaign_id", flat=True)
        return Counter(rows)

    def _sweep_on(self):
        try:
            while not self._is_over.wait(SWEEP_SECONDS):
                self._sweep()
        finally:
            connections.close_all()

    def _sweep(self):
        try:
            tasks.sweep()
        except Exception as error:
            self.sweeping_failed.append(repr(error))


def _wait_until(condition):
    """`wait_until` with fewer checks, because each check takes time from the load."""
    pause = threading.Event()
    wait_until(lambda: pause.wait(LOOK_SECONDS) or condition(), seconds=RECOVERY_SECONDS)
