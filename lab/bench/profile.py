"""Where the µs of a request go: `python3 -m lab profile coupon orders paid` prints a table.

Each row runs twice: on a usual stack, for the processor time of each process, and on one whose processes are
sampled (`lab.bench.sampling`), while MariaDB logs each statement with its time. MariaDB's processor time is
divided among statements by their elapsed time, which includes waits for locks and the disk.
"""

import json
import re
import sys
import time
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

from MySQLdb import OperationalError

from lab import stage as stages
from lab.bench import loads, sampling
from lab.bench.parts import OF_K6
from lab.bench.rows import QUICK, ROWS
from lab.stage import Stage
from scripts.stack import own_stack
from scripts.stack.instance import Instance

SECONDS, WARM_UP_SECONDS, WARM_UP_CALLS, WRITE_SECONDS = 10, 2, 100, 2
STATEMENT = re.compile(r"# Query_time: ([\d.]+).*\n(?:(?:#|SET timestamp|use ).*\n)*([^#]*)")
TABLE = re.compile(r"(?:FROM|INTO|UPDATE)\s+`?(\w+)", re.IGNORECASE)


def run(instance: Instance, rows: list[str]) -> int:
    with loads.running(instance, QUICK) as stage:
        unsampled = {row: loads.measure(stage, row, SECONDS=SECONDS).figures for row in rows}
    with loads.running(instance, QUICK, **sampling.settings(instance.home)) as stage:
        # Have MariaDB log all; a session keeps both settings as they were when it began.
        stage.rows("SET GLOBAL long_query_time = 0, slow_query_log = 1")
        for [id] in stage.rows(loads.QUERIES.sessions):
            with suppress(OperationalError):  # it has ended
                stage.rows("KILL %s", id)
        for _ in range(WARM_UP_CALLS):  # which find their connections lost
            stage.shop.get("/campaigns")
        for row in rows:
            loads.measure(stage, row, SECONDS=WARM_UP_SECONDS)
            for name, parts in of_parts(stage, row).items():
                us, total = unsampled[row][f"{name}_us"], parts.total() or 1
                cells = [f"{part} {us * of / total:,.0f}" for part, of in parts.most_common(14)]
                print(f"| {row} | {name} | {us:,.0f} | {', '.join(cells)} |", flush=True)
            others = [f"{name} {unsampled[row][f'{name}_us']:,.0f}" for name in ("redis", "beat", "issuer")]
            print(f"| {row} | others | | {', '.join(others)} |", flush=True)
    return 0


def of_parts(stage: Stage, row: str) -> dict[str, Counter[str]]:
    """The µs that the parts of each process took of one more load."""
    instance, log = stage.instance, stage.instance.home / f"statements-{row}.log"
    found = {name: Counter[str]() for name in ("web", "worker", "mariadb")}
    sampled = {"web": stages.web_workers(instance), "worker": stages.processes(instance, "worker")}

    def count(by: Callable[..., None]) -> None:
        for name, pids in sampled.items():
            for pid in pids:
                by(found[name], json.loads((instance.home / str(pid)).read_text()))

    stage.rows("SET GLOBAL slow_query_log_file = %s", str(log))
    count(Counter.subtract)
    loads.measure(stage, row, SECONDS=SECONDS)
    time.sleep(WRITE_SECONDS)
    count(Counter.update)
    for seconds, text in STATEMENT.findall(log.read_text(errors="replace")):
        verb, table = text.split(None, 1)[0].rstrip(";").upper(), TABLE.search(text)
        found["mariadb"][f"{verb} {table[1]}" if table else verb] += round(float(seconds) * 1e6)
    return {name: +parts for name, parts in found.items()}


if __name__ == "__main__":
    parser = ArgumentParser(prog="python3 -m lab profile")
    parser.add_argument("rows", nargs="+", choices=[row for row, of in ROWS.items() if of.part in OF_K6])
    rows = parser.parse_args().rows
    sys.exit(own_stack.measure("profile", "profile", lambda instance: run(instance, rows)))
