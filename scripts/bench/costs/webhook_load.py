"""`make webhook-load`: 10,000 events in a minute, sent to 20 webhook endpoints of which 5 never answer.

A stack of its own, whose one worker sends. A process beside it writes the events, those of an order by one
transaction after the other, and has the receivers, in one event loop, which answer at once or never. It fails
when a receiver that answers lacks an event, has one twice, or has those of an order out of sequence.
"""

import argparse
import json
import subprocess
import sys
from dataclasses import replace
from typing import Any

from scripts.bench import commits, sizes, stage
from scripts.bench.stage import Clock
from scripts.stack import SetupError, own_stack, places
from scripts.stack.instance import Instance

USERS = 100
START_SECONDS = 120


def main() -> int:
    parser = argparse.ArgumentParser(prog="make webhook-load", description=__doc__.splitlines()[0])
    parser.add_argument("--events", default="", help="how many events (10000)")
    parser.add_argument("--seconds", default="", help="in which they are written (60)")
    parser.add_argument("--endpoints", default="", help="how many endpoints (20)")
    parser.add_argument("--hanging", default="", help="how many of them never answer (5)")
    parser.add_argument("--wait", default="", help="seconds that the others may take afterwards (900)")
    asked = parser.parse_args()
    return own_stack.measure("webhook-load", "webhook-load", lambda instance: _run(instance, asked))


def _run(instance: Instance, asked: argparse.Namespace) -> int:
    """Measure and print; the exit code."""
    clock = Clock()
    seconds, wait = asked.seconds or "60", asked.wait or "900"
    # With DEBUG endpoints may have addresses of this host.
    settings = stage.SETTINGS | own_stack.NO_RATES | {"WEB_WORKERS": "1", "DEBUG": "1"}
    with own_stack.running(instance, **settings):
        here = stage.seeded(instance, replace(sizes.QUICK, users=USERS))
        command = [sys.executable, "-m", "scripts.bench.costs.webhook_receivers"]
        command += ["--events", asked.events or "10000", "--seconds", seconds]
        command += ["--endpoints", asked.endpoints or "20", "--hanging", asked.hanging or "5", "--wait", wait]
        ran = subprocess.run(
            command,
            cwd=places.PROJECT,
            env={**here.environment, "DEBUG": "1"},
            stdout=subprocess.PIPE,
            text=True,
            timeout=START_SECONDS + float(seconds) + float(wait),
            check=False,
        )
        if ran.returncode != 0:
            raise SetupError(f"the load ended with {ran.returncode}")
        print(f"commit {commits.current()}", stage.circumstances(instance, load_before=clock.load_before))
        found = json.loads(ran.stdout)
        print(*lines(found), sep="\n")
    return 0 if is_right(found) else 1


def is_right(found: dict[str, Any]) -> bool:
    """Whether each receiver that answers got each event once, those of an order in sequence."""
    return not (found["missing"] or found["twice"] or found["out_of_sequence"])


def lines(found: dict[str, Any]) -> list[str]:
    """What was found, for people."""
    lag = found["lag_seconds"]
    return [
        f"{found['events']:,} events of {found['orders']:,} orders in {found['write_seconds']:.0f} s, "
        f"{found['answering']} receivers that answer and {found['hanging']} that never do",
        f"of those that answer: {found['missing']} events are missing, {found['twice']} came twice, "
        f"{found['out_of_sequence']} out of sequence",
        f"{found['received']:,} webhooks in {found['took_seconds']:.0f} s, "
        f"{found['received'] / found['took_seconds']:,.0f} a second; all were there "
        f"{found['behind_seconds']:.1f} s after the last event",
        "| lag behind the event | " + " | ".join(lag) + " |",
        "| --- |" + " --- |" * len(lag),
        "| s | " + " | ".join(f"{value:,.1f}" for value in lag.values()) + " |",
        f"those that hang were asked {found['asked_hanging']:,} times",
    ]


if __name__ == "__main__":
    sys.exit(main())
