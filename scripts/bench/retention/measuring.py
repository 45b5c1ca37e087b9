"""Measures the archiving of a filled month of the journal, and the shop beside it.

It runs in the environment of the throwaway servers. Sales are calls of `issuing.issue` by threads, without
HTTP. The archive is the management command in a process of its own, which is stopped and continued by
signals: so each rate beside it has one without it some seconds earlier.
"""

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any

import django

from scripts.bench.bulk.measuring import THREADS, Issuing, timed

REASON = "It is measured."
DIGEST = """
SELECT COUNT(*), COALESCE(SUM(CRC32(CONCAT_WS('|', id, at, actor, actor_id, actor_name, request_id, what,
subject, order_id, `before`, `after`, detail, reference, event_id, is_internal, delivery, attempts,
delivered_at))), 0) FROM shop_journalline WHERE at >= %s AND at < %s
"""
SIZE = """
SELECT data_length, index_length, data_free FROM information_schema.tables
WHERE table_schema = DATABASE() AND table_name = 'shop_journalline'
"""
MIB = 2**20


def main(rows: int, pairs: int, seconds: int, folder: str) -> None:
    from django.db import connection

    from shop import clock
    from shop.db.mysql.patience import long_read_timeout
    from shop.operations.archives import calendar_months

    month = f"{clock.now() - timedelta(days=150):%Y-%m}"
    begin, end = calendar_months.bounds(month)
    with long_read_timeout(connection):
        from scripts.bench.retention import filling

        made, took = timed(
            lambda: filling.fill(rows, begin=begin, seconds=(end - begin).total_seconds() - 60, say=say)
        )
        say(f"filled in {took:.0f} s: {made:,} lines of {month}")
        before = _digest(begin, end)
        in_table = _sizes()
    issue = Issuing(seconds=seconds)
    issue.rate()
    result = archive_beside(issue, month, folder, pairs=pairs)
    path = Path(folder) / result["file"]
    packed, raw = path.stat().st_size, _unpacked_bytes(path)
    say(
        f"file: {packed / MIB:,.0f} MiB for {raw / MIB:,.0f} MiB of JSON ({raw / packed:.1f} to 1) and for "
        f"{in_table / MIB:,.0f} MiB of the table with its indexes ({in_table / packed:.1f} to 1), "
        f"{packed / made:.1f} bytes a row"
    )
    with long_read_timeout(connection):
        _require(_digest(begin, end) == (0, 0), "all lines of the month are deleted")
        _require_laws()
    _, took = timed(lambda: run("restore_month", str(path)))
    say(f"the file is read whole and compared in {took:.0f} s, {made / took:,.0f} rows a second")
    _, took = timed(lambda: run("restore_month", str(path), "--yes", "--reason", REASON, "--share", "1"))
    say(f"restored without rests in {took:.0f} s, {made / took:,.0f} rows a second")
    with long_read_timeout(connection):
        _require(_digest(begin, end) == before, "every column of every restored line is what it was")
        _require_laws()
    again, took = timed(lambda: run(*_words(month, folder), "--share", "1"))
    last = json.loads(again)
    # Not of the first run, which was stopped in the middle of transactions.
    removed, longest_ms = last["removed"], last["longest_seconds"] * 1e3
    say(
        f"archived again without rests and sales in {took:.0f} s, {removed / took:,.0f} a second; "
        f"longest transaction {longest_ms:,.0f} ms"
    )


def say(text: str) -> None:
    print(text, flush=True)


def archive_beside(issue: Issuing, month: str, folder: str, *, pairs: int) -> dict[str, Any]:
    """Archive the month, with pairs of rates of issue in each of its phases. Returns the command's result."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as progress:
        command = [sys.executable, "manage.py", *_words(month, folder)]
        began_at, stopped = time.monotonic(), 0.0
        with subprocess.Popen(command, stdout=output, stderr=progress) as process:
            for phase in ("written", "compared", "deleted"):
                rates, paused = _rates_in_phase(process, progress, phase, issue=issue, pairs=pairs)
                stopped += paused
                _report_rates(phase, rates)
            process.wait()
        took = time.monotonic() - began_at - stopped
        output.seek(0)
        result: dict[str, Any] = json.loads(output.read())
    _require(process.returncode == 0, "the command succeeded")
    rate = result["removed"] / took
    say(f"archived in {took:.0f} s, half of them rests: {result['removed']:,} rows, {rate:,.0f} a second")
    return result


def _rates_in_phase(
    process: "subprocess.Popen[bytes]", progress: Any, phase: str, *, issue: Issuing, pairs: int
) -> tuple[list[tuple[float, float]], float]:
    """Rates of issue without and beside the command in this phase, and the seconds for which it stood."""
    rates: list[tuple[float, float]] = []
    stopped = 0.0
    while len(rates) < pairs and _wait_for_phase(process, progress, phase):
        began_at = time.monotonic()
        with _stopped(process):
            alone = issue.rate()
        stopped += time.monotonic() - began_at
        beside = issue.rate()
        if process.poll() is None and _phase(progress) == phase:
            rates.append((alone, beside))
    return rates, stopped


def _report_rates(phase: str, rates: list[tuple[float, float]]) -> None:
    if not rates:
        say(f"rows are {phase}: too quickly to measure issuing beside it")
        return
    ratio = median(beside / alone for alone, beside in rates)
    alone, beside = (median(column) for column in zip(*rates, strict=True))
    say(
        f"rows are {phase}: {beside:,.0f} coupons a second beside it, {alone:,.0f} without; median ratio of "
        f"{len(rates)} pairs {ratio:.3f}, {THREADS} callers"
    )


def _phase(progress: Any) -> str:
    """What the command reported last that it does to rows."""
    progress.seek(0)
    lines = progress.read().decode().splitlines()
    words = [line.split()[2].rstrip(",") for line in lines if " rows " in line]
    return words[-1] if words else ""


def _wait_for_phase(process: "subprocess.Popen[bytes]", progress: Any, phase: str) -> bool:
    """Wait until rows are in this phase; False if the command is past it, or has ended."""
    order = ["", "written", "compared", "deleted"]
    while process.poll() is None:
        reached = order.index(_phase(progress))
        if reached >= order.index(phase):
            return reached == order.index(phase)
        time.sleep(0.5)
    return False


@contextmanager
def _stopped(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def _words(month: str, folder: str) -> list[str]:
    return ["archive_month", "journal", month, "--folder", folder, "--yes", "--reason", REASON, "--json"]


def run(*words: str) -> str:
    """The output of a management command."""
    command = [sys.executable, "manage.py", *words]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def _digest(begin: Any, end: Any) -> tuple[int, int]:
    """How many lines of the month there are, and a sum over all of their columns."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(DIGEST, [begin, end])
        count, digest = cursor.fetchone()
    return int(count), int(digest)


def _sizes() -> int:
    """The bytes of the journal's rows and indexes."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("ANALYZE TABLE shop_journalline")
        cursor.fetchall()
        cursor.execute(SIZE)
        data, indexes, _ = cursor.fetchone()
    say(f"the journal has {data / MIB:,.0f} MiB of rows and {indexes / MIB:,.0f} MiB of indexes")
    return int(data + indexes)


def _unpacked_bytes(path: Path) -> int:
    import gzip

    total = 0
    with gzip.open(path) as packed:
        while chunk := packed.read(MIB):
            total += len(chunk)
    return total


def _require_laws() -> None:
    """The laws that count what is archived, and those of the coupons that were issued meanwhile."""
    from coupons import audit as of_coupons
    from inventory import audit as of_stock
    from orders import audit as of_orders

    started = time.monotonic()
    reports = [*of_coupons.audit(), *of_stock.audit()]
    reports += [of_orders.paid_orders_were_published(), of_orders.archived_paid_events_are_counted()]
    _require(all(report.holds for report in reports), "every law holds")
    say(f"the laws are audited in {time.monotonic() - started:.1f} s")


def _require(holds: bool, what: str) -> None:
    if not holds:
        say(f"NOT TRUE: {what}")
        sys.exit(1)
    say(f"checked: {what}")


if __name__ == "__main__":
    django.setup()
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
