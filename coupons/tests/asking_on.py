"""A process that requests coupons continuously: `python -m coupons.tests.asking_on PLAN`.

Its threads loop over the plan's accounts and request each one's coupon of every campaign, until a line of
input arrives. When they have stopped, it says so on its standard error; at the next line they request coupons
for the accounts that the plan calls `last`, each until its result is final. Every result is written at once,
as a line of JSON: so a process that is killed has written all results but those of requests under way.
"""

import json
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import django

THREADS = 6
PAUSE_SECONDS = 0.04
RESTS = "all threads rest"
DEFINITE = {"new", "again", "sold_out"}
_writing = threading.Lock()


def main(campaign_ids: Sequence[int], everyone: Sequence[int], last: Sequence[int]):
    is_over = threading.Event()

    def go_round(user_ids):
        while not is_over.is_set():
            for user_id in user_ids:
                if is_over.wait(PAUSE_SECONDS):
                    return
                _ask_all(campaign_ids, user_id)

    with ThreadPoolExecutor(THREADS) as threads:
        going = threads.map(go_round, _parts(everyone))
        sys.stdin.readline()
        is_over.set()
        list(going)
        print(RESTS, file=sys.stderr, flush=True)
        sys.stdin.readline()
        list(threads.map(partial(_ask_until_definite, campaign_ids), _parts(last)))


def _parts(user_ids):
    """The accounts of each thread."""
    return [user_ids[number::THREADS] for number in range(THREADS)]


def _ask_until_definite(campaign_ids, user_ids):
    pause = threading.Event()
    for user_id in user_ids:
        while not DEFINITE.issuperset(_ask_all(campaign_ids, user_id)):
            pause.wait(PAUSE_SECONDS)


def _ask_all(campaign_ids, user_id):
    return [_ask(campaign_id, user_id) for campaign_id in campaign_ids]


def _ask(campaign_id, user_id):
    from coupons import issuing
    from coupons.tests import outcomes

    began = time.monotonic()
    try:
        outcome: Any = issuing.issue(campaign_id=campaign_id, user_id=user_id)
    except Exception as error:
        outcome = error
    [outcome_name] = outcomes.count_outcomes([outcome])
    coupon = getattr(outcome, "coupon", None)
    answer = [campaign_id, user_id, outcome_name, coupon and coupon.code, began, time.monotonic()]
    with _writing:
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    return outcome_name


if __name__ == "__main__":
    django.setup()
    main(**json.loads(sys.argv[1]))
