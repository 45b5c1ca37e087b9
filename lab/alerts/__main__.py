"""`python3 -m lab alerts`: each alert made to fire once by a real cause, and to clear once that is removed.

Ends with 1 when an alert does not fire or clear, goes to the wrong receiver, or fires without a cause that
explains it. The causes of a phase are made together, for each takes a while to be noticed, and removed
together, the last one first. What one inhibits is in another phase; what keeps the web processes busy comes
last in its own.
"""

import itertools
import math
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from functools import partial

from lab.alerts import stage as stages
from lab.alerts.catalog import CAUSES, Cause
from lab.alerts.stage import SLOWEST_SCRAPE_SECONDS, Fired, Stage
from lab.calls import Findings
from scripts import alert_rules, options
from scripts.stack import Lines, SetupError, own_stack, waiting
from scripts.stack.children import say
from scripts.stack.instance import Instance

QUIET_SECONDS = 120
FIRE_SECONDS = 90
CLEAR_SECONDS = 90
RECEIVERS = {"page": "pager", "ticket": "tickets"}


def main() -> int:
    parser = options.parser("lab alerts", alerts="only these, separated by commas")
    names = set(filter(None, parser.parse_args().alerts.split(",")))
    unknown = names - alert_rules.alerts().keys()
    if unknown:
        parser.error(f"there is no alert {', '.join(sorted(unknown))}")
    return own_stack.measure("lab alerts", "alerts", lambda instance: fire_alerts(instance, names))


def fire_alerts(instance: Instance, names: Collection[str]) -> int:
    """Make these alerts fire, or all, in a stack of the instance; the exit code. Prints the table of
    docs/lab/alerts.md, in seconds from the cause to the webhook, and from its end."""
    started = time.monotonic()
    findings: Lines = []
    count = 0
    chosen = []
    for cause in CAUSES:
        if not names or set(names) & set(cause.fires):
            chosen.append(cause)
    with stages.prepared(instance) as running:

        def is_watched() -> bool:
            return set(running.prometheus.targets().values()) == {"up"}

        waiting.until(is_watched, "not every target was scraped", within_seconds=QUIET_SECONDS)
        time.sleep(2 * SLOWEST_SCRAPE_SECONDS)  # By then all rules have been evaluated twice.
        findings += _wait_until_quiet(running, set(), QUIET_SECONDS)
        say("| alert | cause | s to fire | s to clear |\n| --- | --- | ---: | ---: |")
        for _, phase in itertools.groupby(chosen, key=lambda cause: cause.phase):
            for row in _run_phase(running, list(phase), findings):
                say(row)
                count += 1
    seconds = time.monotonic() - started
    say("\n".join([*findings, f"{count} alerts in {seconds:.0f} s, {len(findings)} findings"]))
    if findings:
        return 1
    return 0


def _run_phase(running: Stage, phase: Sequence[Cause], findings: Lines) -> Findings:
    """Make the causes, wait for their alerts, remove the causes, and wait until nothing fires; the table's
    rows."""
    alerts = running.alerts
    wanted = {name: cause for cause in phase for name in cause.fires}
    alerts.clear()

    def attempt(cause: Cause, act: Callable[[], object]) -> float:
        """Do it; the moment before. That it can't be done is a finding, and keeps no other from it."""
        began_at = time.monotonic()
        try:
            act()
        except (SetupError, LookupError) as error:
            findings.append(f"{cause.what}: {error!r}")
        return began_at

    def make(cause: Cause) -> None:
        for block in cause.blocks(running):
            made[cause.what].enter_context(block)

    with ExitStack() as all_made:
        made = {cause.what: all_made.enter_context(ExitStack()) for cause in phase}
        began_at = {cause.what: attempt(cause, partial(make, cause)) for cause in phase}
        waiting.left(lambda: wanted.keys() - alerts.keys(), within_seconds=FIRE_SECONDS)
        ended_at = {cause.what: attempt(cause, made[cause.what].close) for cause in reversed(phase)}
    findings += [*_wait_until_quiet(running, set(wanted), CLEAR_SECONDS), *find_faults(alerts, phase)]
    for name, cause in wanted.items():
        fired = alerts.get(name, Fired(math.inf))
        cleared = max(0.0, (fired.cleared_at or math.inf) - ended_at[cause.what])
        yield f"| `{name}` | {cause.what} | {fired.at - began_at[cause.what]:.0f} | {cleared:.0f} |"


def _wait_until_quiet(running: Stage, resolved: set[str], within_seconds: float) -> Findings:
    """Wait until no alert is pending or firing, and the webhook knows that these are resolved, or say which.

    Of the others it may not get to know: Alertmanager does not send that an alert is resolved which was
    inhibited at that moment, not even if it had sent that it fires.
    """

    def alerts() -> set[str]:
        pending = {alert["labels"]["alertname"] for alert in running.prometheus.get("alerts")["alerts"]}
        for name, fired in running.alerts.copy().items():
            if name in resolved and not fired.cleared_at:
                pending.add(name)
        return pending

    left = waiting.left(alerts, within_seconds=within_seconds, pause_seconds=0.5)
    if left:
        yield f"{', '.join(sorted(left))} did not end within {within_seconds:.0f} s"


def find_faults(alerts: Mapping[str, Fired], phase: Sequence[Cause]) -> Findings:
    """What the webhook got, against what the causes of the phase must and may make fire."""
    wanted = {name for cause in phase for name in cause.fires}
    explained = wanted.union(*(cause.explains for cause in phase))
    for name in sorted(wanted - alerts.keys()):
        yield f"{name} did not fire within {FIRE_SECONDS} s"
    for name, fired in dict(alerts).items():
        severity = alert_rules.alerts()[name]["labels"]["severity"]
        if name not in explained:
            yield f"{name} fired without a cause, beside {', '.join(sorted(wanted))}"
        if name in wanted and not fired.cleared_at:
            yield f"{name} was not cleared within {CLEAR_SECONDS} s"
        if fired.receivers != {RECEIVERS[severity]}:
            yield f"{name} is a {severity} and went to {fired.receivers}"


if __name__ == "__main__":
    sys.exit(main())
