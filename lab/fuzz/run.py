"""A fuzz from its start to the audit after it."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lab.fuzz import admin_session, api_requests, callers, raw_connections
from lab.fuzz.admin_session import Operator
from lab.fuzz.findings import Findings
from scripts.stack import own_stack, process_identity, supervision
from scripts.stack.instance import Instance

RAW_SENDERS = 10
"""Most of them wait for the shop to give up an unfinished request."""
MOST_ERRORS, LONGEST_ERROR = 5, 6_000
SETTINGS = {
    **own_stack.NO_RATES,
    "OPEN_ORDERS_PER_ACCOUNT": "10000",
    # No partner or payment that fails by itself: a 503 has to have a reason in the request.
    "PARTNER_FAILURE_RATE": "0",
}


def fuzz(instance: Instance, *, seconds: int, seed: str) -> int:
    """Send requests for so long, then look at processes and laws; the exit code. Raises SetupError."""
    _say(f"fuzz: SEED={seed} SECONDS={seconds} DB={instance.database}")
    findings = Findings()
    with own_stack.running(instance, **SETTINGS):
        known = callers.set_up(instance)
        operator, clerk = admin_session.signed_in(instance.url, findings, seed)
        known.tokens["clerk"] = callers.token_of(instance, admin_session.CLERK, admin_session.PASSWORD)
        running = process_identity.of_state(instance.home)
        sent = _send(instance, known, operator, findings, seconds, seed)
        _check_forms(operator, clerk)
        record_deaths(instance.home, running, findings)
        _record_states(instance, findings)
        _record_laws(instance, findings)
    errors = logged_errors(instance.logs / "web.log") if findings.found else []
    for name, count in sorted(findings.statuses.items()):
        _say(f"{count:7} x {name}")
    for finding in findings.found.values():
        _say(f"FINDING {finding}")
    for line in errors:
        _say(f"LOGGED {line}")
    _say(f"fuzz: {sent} requests and connections, {len(findings.found)} findings, SEED={seed}")
    return 1 if findings.found else 0


def _check_forms(operator: Operator, clerk: Operator) -> None:
    """Send the forms that the operator has seen without a reason, and without a permission."""
    reasons = operator.check_reasons()
    permissions = clerk.check_permissions(list(operator.forms.values()))
    pages, forms = len(operator.seen) - len(operator.unseen), len(operator.forms)
    _say(f"{pages} pages of operators have {forms} kinds of forms, which were sent {operator.sent} times")
    _say(f"{reasons} forms were sent without a reason, {permissions} without a permission")


def _send(
    instance: Instance,
    known: callers.Callers,
    operator: Operator,
    findings: Findings,
    seconds: int,
    seed: str,
) -> int:
    ends_at = time.monotonic() + seconds
    with ThreadPoolExecutor(RAW_SENDERS + 2) as threads:
        by_forms = threads.submit(operator.send_until, ends_at)
        by_document = threads.submit(
            api_requests.send_until,
            ends_at,
            url=instance.url,
            callers=known,
            run_seed=seed,
            findings=findings,
        )
        raw = [
            threads.submit(
                raw_connections.send_until,
                ends_at,
                port=instance.port,
                callers=known,
                run_seed=f"{seed} {number}",
                findings=findings,
            )
            for number in range(RAW_SENDERS)
        ]
        return by_document.result() + by_forms.result() + sum(one.result() for one in raw)


def record_deaths(home: Path, running: set[int], findings: Findings) -> None:
    """A process that died is a finding, though supervisor has started another in its place."""
    if died := running - process_identity.of_state(home):
        findings.record("processes died", f"{sorted(died)}{own_stack.ends_of_logs(home)}")


def logged_errors(log: Path) -> list[str]:
    """The first errors that the web processes logged, with their tracebacks."""
    errors = [line for line in log.read_text(errors="replace").splitlines() if '"level": "error"' in line]
    return [line[:LONGEST_ERROR] for line in errors[:MOST_ERRORS]]


def _record_states(instance: Instance, findings: Findings) -> None:
    for name, state in supervision.states(instance).items():
        if state != "RUNNING":
            findings.record(f"{name} is {state} in the end", own_stack.ends_of_logs(instance.home))


def _record_laws(instance: Instance, findings: Findings) -> None:
    laws = own_stack.audit(instance)
    for sentence in own_stack.broken(laws):
        findings.record(*sentence.split(": ", 1))
    _say(f"audit: {sum(law['holds'] for law in laws)} of {len(laws)} laws hold")


def _say(text: str) -> None:
    print(text, flush=True)
