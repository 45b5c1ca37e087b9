"""`make alerts`: each alert made to fire once by a real cause, and to clear once that is removed.

Ends with 1 when an alert does not fire or clear, goes to the wrong receiver, or fires without a cause that
explains it.
"""

import argparse
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from lab.alerts import causes, stage
from lab.alerts.causes import Cause
from lab.alerts.receiver import Receiver
from lab.alerts.stage import Stage
from scripts import alert_rules
from scripts.stack import SetupError, own_stack
from scripts.stack.instance import Instance

QUIET_SECONDS = 120
FIRE_SECONDS, CLEAR_SECONDS = 90, 90
RECEIVERS = {"page": "pager", "ticket": "tickets"}


@dataclass(frozen=True)
class Result:
    """What became of one alert: seconds from its cause to the webhook, and from its end."""

    alert: str
    cause: str
    fire_seconds: float | None
    clear_seconds: float | None


def main() -> int:
    parser = argparse.ArgumentParser(prog="make alerts", description="Make each alert fire once.")
    parser.add_argument("--alerts", default="", help="only these, separated by commas")
    names = [name for name in parser.parse_args().alerts.split(",") if name] or sorted(causes.all_alerts())
    if unknown := set(names) - causes.all_alerts():
        parser.error(f"there is no alert {', '.join(sorted(unknown))}")
    return own_stack.measure("make alerts", "alerts", lambda instance: fire_alerts(instance, names))


def fire_alerts(instance: Instance, names: Collection[str]) -> int:
    """Make these alerts fire in a stack of the instance; prints the table, and returns the exit code."""
    started = time.monotonic()
    results: list[Result] = []
    findings: list[str] = []
    with stage.prepared(instance) as running:
        running.watchers.wait_until_evaluated(within_seconds=QUIET_SECONDS)
        running.watchers.wait_until_quiet(within_seconds=QUIET_SECONDS)
        _say(f"watched and quiet after {time.monotonic() - started:.0f} s")
        for phase in causes.chosen(names):
            results += _run_phase(running, phase, findings)
    print("\n".join(_table(results)))
    for finding in findings:
        print(f"FINDING {finding}")
    print(
        f"{len(results)} alerts in {time.monotonic() - started:.0f} s, {len(findings)} findings", flush=True
    )
    return 1 if findings else 0


def _run_phase(running: Stage, phase: Sequence[Cause], findings: list[str]) -> list[Result]:
    """Make the causes, wait for their alerts, remove the causes, and wait until nothing fires."""
    receiver = running.watchers.receiver
    receiver.forget()
    wanted = {name: cause for cause in phase for name in cause.fires}
    began_at: dict[str, float] = {}
    ended_at: dict[str, float] = {}
    try:
        with ExitStack() as made:
            for cause in phase:
                began_at[cause.what] = time.monotonic()
                made.enter_context(cause.make(running))
                # Runs right before the cause is removed.
                made.callback(_note_time, ended_at, cause.what)
            receiver.wait_until_fired(wanted, until=time.monotonic() + FIRE_SECONDS)
        running.watchers.wait_until_quiet(resolved=wanted, within_seconds=CLEAR_SECONDS)
    except SetupError as error:
        findings.append(str(error))
    fired, cleared = receiver.fired(), receiver.cleared()
    findings += find_faults(receiver, phase)
    results = [
        Result(
            name, cause.what, _between(began_at, fired, cause, name), _between(ended_at, cleared, cause, name)
        )
        for name, cause in wanted.items()
    ]
    for line in _table(results)[2:]:
        _say(line)
    return results


def _note_time(times: dict[str, float], what: str) -> None:
    times[what] = time.monotonic()


def _between(
    causes_at: Mapping[str, float], alerts_at: Mapping[str, float], cause: Cause, alert: str
) -> float | None:
    """Seconds from what was done to the cause to what the alert did; None where either did not happen."""
    if cause.what not in causes_at or alert not in alerts_at:
        return None
    return max(0.0, alerts_at[alert] - causes_at[cause.what])


def find_faults(receiver: Receiver, phase: Sequence[Cause]) -> Iterator[str]:
    """What the webhook got, against what the causes of the phase must and may make fire."""
    fired, cleared = receiver.fired(), receiver.cleared()
    for alert in alert_rules.alerts():
        is_wanted = any(alert.name in cause.fires for cause in phase)
        is_explained = is_wanted or any(alert.name in cause.explains for cause in phase)
        if is_wanted and alert.name not in fired:
            yield f"{alert.name} did not fire within {FIRE_SECONDS} s"
        if alert.name in fired and not is_explained:
            yield f"{alert.name} fired without a cause, beside {', '.join(cause.fires[0] for cause in phase)}"
        if is_wanted and alert.name in fired and alert.name not in cleared:
            yield f"{alert.name} was not cleared within {CLEAR_SECONDS} s"
        if alert.name in fired and receiver.receivers_of(alert.name) != {RECEIVERS[alert.severity]}:
            yield f"{alert.name} is a {alert.severity} and went to {receiver.receivers_of(alert.name)}"


def _table(results: Sequence[Result]) -> list[str]:
    """Markdown, for docs/monitoring.md."""
    lines = ["| alert | cause | s to fire | s to clear |", "| --- | --- | ---: | ---: |"]
    for result in results:
        seconds = [
            "never" if number is None else f"{number:.0f}"
            for number in (result.fire_seconds, result.clear_seconds)
        ]
        lines.append(f"| `{result.alert}` | {result.cause} | {seconds[0]} | {seconds[1]} |")
    return lines


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
