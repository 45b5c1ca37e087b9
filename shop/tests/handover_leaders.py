"""Processes that lead a row, for tests of hand-over; each of them may end as the test has it."""

from contextlib import AbstractContextManager
from subprocess import Popen

from shop.tests.samples import Increases
from shop.tests.second_process import another_process

LONG = 30.0
"""Seconds of a lease that a busy machine doesn't end: a batch that waits for its holder gives up before."""
LEAD = """
import os, signal, time
import shop.urls
from shop.concurrency.group_commit import Batcher, run_without_transaction
from shop.errors import Unavailable
from shop.redis.handover import leadership, serving

kind, row, end = sys.argv[1], int(sys.argv[2]), sys.argv[3]
leadership.LEASE_SECONDS = float(sys.argv[4])
if kind == "coupons":
    from functools import partial
    from coupons.issuing.strategies.group_commit import decide_in_transaction
    decide = partial(decide_in_transaction, row)
else:
    from orders.placement.strategies.group_commit import place_batch as decide

def decide_and_die(requests):
    decide(requests)
    os.kill(os.getpid(), signal.SIGKILL)

def refuse(requests):
    raise Unavailable("the database is away")

if end in ("silent", "unavailable"):
    useless = Batcher(refuse if end == "unavailable" else lambda requests: time.sleep(60))
    serving.register(kind, lambda row: useless)
if end == "after_commit":
    batcher = Batcher(decide_and_die, run=run_without_transaction, linger_seconds=0.5)
    serving.register(kind, lambda row: batcher)
name = serving.row_name(kind, row)
assert leadership.leader_of(name) == leadership.own_inbox()
serving.start()
print("ready", flush=True)
while True:
    leadership.leader_of(name)
    time.sleep(0.1)
"""


def leading(
    kind: str, row: int, *, end: str = "", lease_seconds: float = LONG, **settings: str
) -> AbstractContextManager["Popen[str]"]:
    """A process that leads the row until it is killed.

    With `end="after_commit"` it dies once it has committed its first batch; a "silent" one decides none, and
    an "unavailable" one says so of each.
    """
    arguments = (kind, str(row), end, str(lease_seconds))
    return another_process(LEAD, *arguments, **{"HAND_OVER_BATCHES": "1"} | settings)


def handed_over() -> Increases:
    """How many batches this process hands over from now on, by what came of it."""
    return Increases("firstcome_batches_handed_over_total")


def result(kind: str, result: str) -> str:
    """The name of that count."""
    return f'firstcome_batches_handed_over_total{{batcher="{kind}",result="{result}"}}'
