"""`python3 -m lab alerts`: each alert made to fire once by a real cause, and to clear once that is removed.

Ends with 1 when an alert does not fire or clear, goes to the wrong receiver, or fires without a cause that
explains it.
"""

import argparse
import itertools
import math
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial

from lab.alerts import stage
from lab.alerts.causes import CAUSES, Cause
from lab.alerts.stage import SLOWEST_SCRAPE_SECONDS, Fired, Stage
from scripts import alert_rules
from scripts.stack import SetupError, own_stack, waiting
from scripts.stack.instance import Instance

QUIET_SECONDS, FIRE_SECONDS, CLEAR_SECONDS = 120, 90, 90
RECEIVERS = {"page": "pager", "ticket": "tickets"}


def main() -> int:
    parser = argparse.ArgumentParser(prog="lab alerts", description="Make each alert fire once.")
    parser.add_argument("--alerts", default="", help="only these, separated by commas")
    names = set(filter(None, parser.parse_args().alerts.split(",")))
    if unknown := names - {name for cause in CAUSES for name in cause.fires}:
        parser.error(f"there is no alert {', '.join(sorted(unknown))}")
    return own_stack.measure("lab alerts", "alerts", lambda instance: fire_alerts(instance, names))


def fire_alerts(instance: Instance, names: Collection[str]) -> int:
    """Make these alerts fire, or all, in a stack of the instance; the exit code. Prints the table of
    docs/monitoring.md, in seconds from the cause to the webhook, and from its end."""
    started, rows, findings = time.monotonic(), list[str](), list[str]()
    chosen = [cause for cause in CAUSES if not names or set(names) & set(cause.fires)]
    chosen.sort(key=lambda cause: cause.phase)
    with stage.prepared(instance) as running:
        late = f"not every target was scraped within {QUIET_SECONDS} s"
        is_watched = lambda: set(running.prometheus.targets().values()) == {"up"}  # noqa: E731
        waiting.until(is_watched, late, within_seconds=QUIET_SECONDS)
        time.sleep(2 * SLOWEST_SCRAPE_SECONDS)  # By then all rules have been evaluated twice.
        findings += _wait_until_quiet(running, set(), QUIET_SECONDS)
        print(
            "| alert | cause | s to fire | s to clear |", "| --- | --- | ---: | ---: |", sep="\n", flush=True
        )
        for _, phase in itertools.groupby(chosen, key=lambda cause: cause.phase):
            rows += (new := _run_phase(running, list(phase), findings))
            print(*new, sep="\n", flush=True)
    print(*(f"FINDING {finding}\n" for finding in findings), sep="", end="")
    print(f"{len(rows)} alerts in {time.monotonic() - started:.0f} s, {len(findings)} findings", flush=True)
    return 1 if findings else 0


def _run_phase(running: Stage, phase: Sequence[Cause], findings: list[str]) -> list[str]:
    """Make the causes, wait for their alerts, remove the causes, and wait until nothing fires; the table's
    rows."""
    alerts, wanted = running.alerts, {name: cause.what for cause in phase for name in cause.fires}
    alerts.clear()

    def attempt(what: str, act: Callable[[], object]) -> float:
        """Do it; the moment before. That it can't be done is a finding."""
        began_at = time.monotonic()
        try:
            act()
        except SetupError as error:
            findings.append(f"{what}: {error}")
        return began_at

    # Each cause is undone for itself: one that can't be made or undone keeps no other from it.
    with ExitStack() as all_made:
        made = {cause.what: all_made.enter_context(ExitStack()) for cause in phase}
        make = lambda cause: made[cause.what].enter_context(cause.make(running))  # noqa: E731
        began_at = {cause.what: attempt(cause.what, partial(make, cause)) for cause in phase}
        waiting.left(lambda: wanted.keys() - alerts.keys(), within_seconds=FIRE_SECONDS)
        ended_at = {what: attempt(what, own.close) for what, own in reversed(made.items())}
    findings += [*_wait_until_quiet(running, set(wanted), CLEAR_SECONDS), *find_faults(alerts, phase)]
    rows = []
    for name, what in wanted.items():
        fired = alerts.get(name, Fired(math.inf))
        cleared = max(0.0, (fired.cleared_at or math.inf) - ended_at[what])
        rows.append(f"| `{name}` | {what} | {fired.at - began_at[what]:.0f} | {cleared:.0f} |")
    return rows


def _wait_until_quiet(running: Stage, resolved: set[str], within_seconds: float) -> Iterator[str]:
    """Wait until no alert is pending or firing, and the webhook knows that these are resolved, or say which.

    Of the others it may not get to know: Alertmanager does not send that an alert is resolved which was
    inhibited at that moment, not even if it had sent that it fires.
    """

    def alerts() -> set[str]:
        pending = {alert["labels"]["alertname"] for alert in running.prometheus.get("alerts")["alerts"]}
        return pending | {name for name in resolved if (one := running.alerts.get(name)) and one.firing}

    if left := waiting.left(alerts, within_seconds=within_seconds, pause_seconds=0.5):
        yield f"{', '.join(sorted(left))} did not end within {within_seconds:.0f} s"


def find_faults(alerts: Mapping[str, Fired], phase: Sequence[Cause]) -> Iterator[str]:
    """What the webhook got, against what the causes of the phase must and may make fire."""
    wanted = {name for cause in phase for name in cause.fires}
    explained = wanted.union(*(cause.explains for cause in phase))
    for name, rule in alert_rules.alerts().items():
        fired, severity = alerts.get(name), rule["labels"]["severity"]
        if name in wanted and not fired:
            yield f"{name} did not fire within {FIRE_SECONDS} s"
        if fired and name not in explained:
            yield f"{name} fired without a cause, beside {', '.join(sorted(wanted))}"
        if fired and name in wanted and not fired.cleared_at:
            yield f"{name} was not cleared within {CLEAR_SECONDS} s"
        if fired and fired.receivers != {RECEIVERS[severity]}:
            yield f"{name} is a {severity} and went to {fired.receivers}"


if __name__ == "__main__":
    sys.exit(main())
