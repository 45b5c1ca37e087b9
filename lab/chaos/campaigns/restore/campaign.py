"""`make chaos CAMPAIGN=restore`: a database that is lost under load is restored up to a moment before
that.

What clients were answered before the moment has to be there, and the restored shop has to go on with what
remains of the lost time in clients, in Redis, at the gateway and at the data platform. With PLANTED=1 the
copied logs end before the moment: the restore has to refuse them, or else the comparison has to find the
loss.
"""

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from lab.chaos import lost_database, trial
from lab.chaos.calls import Observations
from lab.chaos.campaigns.restore import loss, remains
from lab.chaos.campaigns.restore.remains import Remains
from lab.chaos.campaigns.rows import HEADER, Row
from lab.chaos.clients import Buyer, Clerk, Staff, at_work, staff_and_buyers
from lab.chaos.lost_database import say
from lab.chaos.memory import Setup
from lab.chaos.shop import BOUGHT, Shop
from lab.cluster.drill import effects
from scripts.stack import SetupError, database, own_stack, places, supervision, waiting
from scripts.stack.instance import Instance
from scripts.stack.processes import BINARY_LOG, SHOP

NAME = "restore"
LOAD_SECONDS, QUICK_LOAD_SECONDS = 30.0, 6.0
"""Before the backup, between it and the moment, and after the restore."""
LOST_SECONDS = 6.0
"""At least so long before the loss is the moment."""
CUT_SECONDS = 4.0
"""With the planted defect, so long before the moment the copied logs end."""
SETTLE_SECONDS = 120
CLIENT_SECONDS = 600
"""For so long clients repeat calls that the loss interrupted."""
STRATEGIES = trial.Trial(NAME, "mariadb", 60, has_outages=False, pauses=(0, 0), has_all_strategies=True)
OPEN = f"""
SELECT (SELECT COUNT(*) FROM orders_order WHERE status IN ('pending', 'paying', 'refunding')),
    {database.UNDELIVERED},
    (SELECT COUNT(*) FROM orders_saga WHERE state = 'running')
"""  # noqa: S608 - no input
NEWEST_LINE = "SELECT MAX(id) FROM shop_journalline"
LINES_SINCE = "SELECT MIN(id) FROM shop_journalline WHERE at >= FROM_UNIXTIME(%s)"
PAID = "SELECT REPLACE(id, '-', ''), status FROM orders_order"


@dataclass(frozen=True)
class Restored:
    """`moment` and `lost_at` are of the wall clock; `back_at` is when the shop answered again."""

    moment: float
    lost_at: float
    back_at: float
    newest_line: int
    orphaned_charges: int
    left: Remains


def run(instance: Instance, seed: str, *, is_quick: bool, is_planted: bool) -> int:
    """Run it on a fresh stack; the exit code. Raises SetupError."""
    say(f"{NAME}: SEED={seed} QUICK={is_quick:d} PLANTED={is_planted:d}")
    seen, pause = Observations(), QUICK_LOAD_SECONDS if is_quick else LOAD_SECONDS
    with own_stack.running(instance, **trial.SETTINGS, **{BINARY_LOG: "1"}):
        setup, shop = trial.set_up(STRATEGIES, instance, seen, minutes=1)
        queue, ask = remains.queue_of(shop), partial(database.rows, instance)
        before = effects.stored(setup, ask)
        made = _lose_and_restore(instance, setup, shop, seen, seed, pause, queue, is_planted=is_planted)
        if not is_planted:
            remains.check(made.left, shop, seen, product=setup.ample.id)
            _load_again(instance, setup, seen, f"{seed} again", pause)
        _settle(instance, setup, shop, seen)
        rows = effects.stored(setup, ask)
        forgotten = loss.forgotten_orders(setup, rows, moment=made.moment, lost_at=made.lost_at)
        times = {"moment": made.moment, "lost_at": made.lost_at}
        found = loss.compare(setup, rows, before=before, **times)
        _report(made, found, setup)
        if is_planted:
            is_found = bool(found.findings)
            say(f"{NAME}: the planted defect was {'found' if is_found else 'NOT found'}")
            return 0 if is_found else 1
        say(
            f"{remains.repeat_forgotten(forgotten, shop, seen)} keys of lost orders placed one new order each"
        )
        _settle(instance, setup, shop, seen)
        _check_events(instance, shop, made, seen)
        trial.audit(instance, seen)
    say(trial.summary(setup, seen))
    for finding in (*found.findings, *seen.findings):
        say(f"FINDING {finding}")
    return 1 if found.findings or seen.findings else 0


def _report(made: Restored, found: loss.Loss, setup: Setup) -> None:
    lost = ", ".join(f"{count} x {kind}" for kind, count in sorted(found.forgotten.items())) or "nothing"
    say(f"RPO: restored up to {made.lost_at - made.moment:.1f} s before the loss; of these are lost: {lost}")
    rto = made.back_at - made.lost_at
    say(f"RTO: {rto:.1f} s from the loss to the first answer")
    say(f"{made.orphaned_charges} charges of lost payments were refunded")
    calls = sum(one.was_done for account in [setup.staff, *setup.buyers] for one in account.calls)
    row = Row(NAME, 1, calls, found.acknowledged, len(found.lost), len(found.doubled), rto)
    say(f"{HEADER}\n{row}")


def _lose_and_restore(
    instance: Instance,
    setup: Setup,
    shop: Shop,
    seen: Observations,
    seed: str,
    pause: float,
    queue: int,
    *,
    is_planted: bool,
) -> Restored:
    backup, logs = instance.home / "backup", places.private_folder(instance.home / "copied-logs")
    stop, staff_stop = threading.Event(), threading.Event()
    with ThreadPoolExecutor(trial.BUYERS + 1) as threads, ExitStack() as copying:
        copying.enter_context(lost_database.copied_logs(instance, logs))
        clients = _clients(instance, setup, seen, seed)
        running = [
            threads.submit(client.run, staff_stop if isinstance(client, Staff) else stop)
            for client in clients
        ]
        try:
            time.sleep(pause)
            lost_database.back_up(instance, backup)
            time.sleep(pause)
            # Refunds of the time that is lost are for a person: docs/howto/restore-a-backup.md.
            staff_stop.set()
            if is_planted:
                copying.close()
                time.sleep(CUT_SECONDS)
            time.sleep(2)
            moment = _next_second()
            left = remains.create_leftovers(instance, setup, shop, queue)
            time.sleep(LOST_SECONDS)
            newest_line = int(database.rows(instance, NEWEST_LINE)[0][0])
            stop.set()
            lost_at = time.time()
            lost_database.lose_server(instance)
            copying.close()
            charges = _restore(instance, backup, logs, moment, seen, is_planted=is_planted)
            lost_database.wait_for_answer(shop)
            back_at = time.time()
        except BaseException as error:
            say(f"{NAME}: failed, and ends when its clients have given up: {error}")
            raise
        finally:
            stop.set()
            staff_stop.set()
    for client in running:
        client.result()
    return Restored(moment, lost_at, back_at, newest_line, charges, left)


def _restore(
    instance: Instance, backup: Path, logs: Path, moment: float, seen: Observations, *, is_planted: bool
) -> int:
    """As the guide says: stop the processes, restore, compare the books, rebuild Redis, start them again."""
    for name, state in supervision.states(instance).items():
        if name in SHOP and state != "STOPPED":
            supervision.stop(instance, name)
    until = datetime.fromtimestamp(moment, UTC).strftime("--until=%Y-%m-%dT%H:%M:%S")
    with lost_database.second_server(instance) as second:
        if is_planted:
            _require_refused(instance, second.url, backup, logs, until)
        more = ["--accept-early-end"] if is_planted else []
        lost_database.restore(instance, second, backup, logs, until, *more)
        charges = 0 if is_planted else lost_database.refund_orphaned_charges(instance, second)
        lost_database.audit_copy(instance, second, seen)
    lost_database.start_server(instance)
    lost_database.manage(instance, "rebuild_redis")
    supervision.start(instance, SHOP)
    return charges


def _require_refused(instance: Instance, url: str, backup: Path, logs: Path, until: str) -> None:
    words = f"restore {backup} --logs {logs} {until}"
    refused = own_stack.manage(instance, words, DATABASE_URL=url)
    if refused.returncode == 0 or "These logs end at" not in refused.stdout + refused.stderr:
        raise SetupError(f"logs that end too early were not refused: {refused.stdout}{refused.stderr}")


def _clients(instance: Instance, setup: Setup, seen: Observations, seed: str) -> list[Staff | Buyer | Clerk]:
    ends_at = time.monotonic() + CLIENT_SECONDS
    return staff_and_buyers(
        setup, count=trial.BUYERS, port=instance.port, seed=seed, ends_at=ends_at, seen=seen
    )


def _load_again(instance: Instance, setup: Setup, seen: Observations, seed: str, seconds: float) -> None:
    """The same clients go on with the restored shop, and know nothing of calls from before the loss."""
    fresh = loss.without_calls(setup)
    # Buyers alone: staff could refund what is lost.
    with at_work([one for one in _clients(instance, fresh, seen, seed) if isinstance(one, Buyer)]):
        time.sleep(seconds)
    for account, again in zip(setup.buyers, fresh.buyers, strict=True):
        account.calls.extend(again.calls)


def _settle(instance: Instance, setup: Setup, shop: Shop, seen: Observations) -> None:
    """Wait until no order, saga or event is open, and every client has its final answers."""
    names = ("orders", "events", "sagas")

    def still_open() -> dict[str, int]:
        counts = zip(names, map(int, database.rows(instance, OPEN)[0]), strict=True)
        return {name: count for name, count in counts if count}

    if left := waiting.left(still_open, within_seconds=SETTLE_SECONDS, pause_seconds=0.5):
        seen.record_finding(f"not settled after {SETTLE_SECONDS} s: {left}")
    trial.await_final_answers(setup, shop, seen)


def _check_events(instance: Instance, shop: Shop, made: Restored, seen: Observations) -> None:
    """Journal lines have new ids, and each paid order's event is at the data platform.

    An order whose payment was settled after the moment is settled again: its event comes twice, with two ids.
    """
    [(first,)] = database.rows(instance, LINES_SINCE, made.lost_at)
    if first is None or int(first) <= made.newest_line:
        seen.record_finding(
            f"journal lines after the restore begin with {first}, not above {made.newest_line}"
        )
    paid: Counter[str] = Counter(
        event["data"]["order"].replace("-", "") for event in shop.events() if event["type"] == "order.paid"
    )
    bought = {str(order) for order, status in database.rows(instance, PAID) if status in BOUGHT}
    for order in sorted(bought - paid.keys()):
        seen.record_finding(f"order {order} is paid, and the data platform has no event of it")
    twice = sum(count > 1 for count in paid.values())
    say(f"{len(paid.keys() - bought)} paid orders of the data platform are lost, {twice} came twice")


def _next_second() -> float:
    """Wait for the beginning of a second of the wall clock, and return it."""
    moment = float(int(time.time()) + 1)
    while (left := moment - time.time()) > 0:
        time.sleep(left)
    return moment


def run_apart(seed: str, *, is_quick: bool, is_planted: bool) -> int:
    """Run it on a stack in a new folder, removed in the end; its exit code."""
    return own_stack.measure(
        f"make chaos CAMPAIGN={NAME}",
        NAME,
        lambda instance: run(instance, seed, is_quick=is_quick, is_planted=is_planted),
    )
