"""The scheduled audit: every `AUDIT_SECONDS` what is new or current, every hour all rows, in short parts.

Both give the apps' checks chunks of rows, outside any transaction. So each statement is short, and no
migration waits for long. A broken chunk is a suspect: every audit checks it again, and only that
clears the law.
"""

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import Error, connection
from django.db.models import Q
from structlog import get_logger

from foundation import clock
from foundation.db import transactions
from foundation.db.mysql.patience import statement_limit
from foundation.db.rows import save_changes
from foundation.models import AuditState, LawStatus
from foundation.operations.audits import law_status, laws
from foundation.operations.audits.checks import Chosen, NotChecked, Subject, WholeCheck, is_ahead
from foundation.operations.audits.law_status import Findings
from foundation.values import Values

log = get_logger(__name__)
ROW = 1
"""The state is a row of `AuditState` in the database, because Redis decides nothing."""
# Longer than the longest check: seven statements, each of which may take `STATEMENT_SECONDS`.
# If checks outlast it, the next auditor starts beside this one, and none records anything.
LEASE_SECONDS = 180
RENEW_SECONDS = 10
# A statement that takes longer leaves its law unchecked. All attempts of `migrate` wait for longer than this.
STATEMENT_SECONDS = 20
# A full audit begins so long after the start of the last one. It goes on for some seconds at each call, so a
# worker can be stopped, and the shop has most of the time for itself.
FULL_INTERVAL = timedelta(hours=1)
FULL_SECONDS = 5.0
NEW_SECONDS = 5.0
"""The time for the new rows of each subject; the next call checks what is left."""
UNFINISHED = "unfinished"
"""The mark that says whether rows are left that were new to the latest audit."""


class LeaseLost(Exception):
    """Another auditor has the lease: this one was paused for too long, and records nothing."""


@dataclass(slots=True)
class Progress:
    """How far a full audit is: its subject and last key, the laws that could not be checked, and those that
    are broken in more chunks than a status keeps.
    """

    started_at: str
    subject: str = ""
    after: Any = None
    uncovered: list[str] = field(default_factory=list)
    overflowed: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Lease:
    """The right to audit, as long as it is renewed."""

    token: str
    renewed: float = 0.0

    def take(self, free: Q) -> bool:
        """Take it if it is free or ours, which it is if the reply to an attempt was lost."""
        self.renewed = time.monotonic()
        until = clock.now() + timedelta(seconds=LEASE_SECONDS)
        rows = AuditState.objects.filter(free | Q(lease_token=self.token), pk=ROW)
        changed = transactions.run_or_savepoint(
            lambda: rows.update(lease_token=self.token, leased_until=until), transactions.REPEATABLE
        )
        return changed == 1

    def renew(self) -> None:
        """Extend it when it is time. Raises `LeaseLost`."""
        if time.monotonic() - self.renewed > RENEW_SECONDS and not self.take(Q()):
            raise LeaseLost

    def lock(self) -> AuditState:
        """The state, locked in the caller's transaction. Raises `LeaseLost`."""
        state = AuditState.objects.select_for_update().get(pk=ROW)
        if state.lease_token != self.token:
            raise LeaseLost
        return state


@contextmanager
def leased() -> Iterator[Lease | None]:
    """Hold the lease while the block runs; yields None while another auditor holds it."""
    lease = Lease(secrets.token_hex(16))
    now = clock.now()
    AuditState.objects.bulk_create([AuditState(pk=ROW)], ignore_conflicts=True)
    # The last one was taken before the clock was set back.
    ahead = Q(leased_until__gt=now + timedelta(seconds=2 * LEASE_SECONDS))
    if not lease.take(Q(leased_until__isnull=True) | Q(leased_until__lte=now) | ahead):
        yield None
        return
    try:
        yield lease
    finally:
        AuditState.objects.filter(pk=ROW, lease_token=lease.token).update(lease_token="", leased_until=None)


def run_due() -> bool:
    """Do what is due: the frequent audit, then a part of a full one. Returns whether something was.

    Does nothing while another process audits. Must be called outside a transaction.
    """
    with leased() as lease:
        if lease is None:
            return False
        try:
            with statement_limit(connection, seconds=STATEMENT_SECONDS):
                return _run_due(lease)
        except LeaseLost:
            log.warning("audit stopped: another process has its lease")
            return False


def _run_due(lease: Lease) -> bool:
    state = AuditState.objects.get(pk=ROW)
    now = clock.now()

    def is_over(since: datetime | None, interval: timedelta) -> bool:
        """Whether it has passed, or is not known to have because the clock was set back."""
        return since is None or now - since >= interval or is_ahead(since, now=now)

    is_due = is_over(state.audited_at, timedelta(seconds=settings.AUDIT_SECONDS))
    is_due = is_due or dict(state.marks).get(UNFINISHED, False)
    if is_due:
        audit_new(lease, now=now)
    is_full_due = state.progress is not None or is_over(state.full_at, FULL_INTERVAL)
    is_full_due = is_full_due or law_status.is_full_needed()
    if is_full_due:
        continue_full(lease, now=now)
    return is_due or is_full_due


def audit_new(lease: Lease, *, now: datetime) -> None:
    """Check all suspects, the rows that are new or current, and what is cheap to check whole."""
    marks = dict(AuditState.objects.get(pk=ROW).marks)
    audit = _Audit(lease)
    audit.check_suspects()
    for whole in laws.WHOLE_CHECKS:
        if whole.is_frequent:
            audit.check(whole, None)
    marks[UNFINISHED] = False
    for subject in laws.SUBJECTS:
        audit.check_new(subject, marks)

    def record() -> None:
        state = lease.lock()
        law_status.record(audit.found, at=now, replaces=True)
        save_changes(state, marks=marks, audited_at=now)

    transactions.run_or_savepoint(record, transactions.REPEATABLE)


def continue_full(lease: Lease, *, now: datetime, seconds: float = FULL_SECONDS) -> None:
    """Begin a full audit, or go on with the one under way, for so long."""
    subjects = [subject.name for subject in laws.SUBJECTS]
    kept = AuditState.objects.get(pk=ROW).progress
    progress = Progress(started_at=now.isoformat())
    # Another release may have begun it, with other subjects.
    if kept and kept.keys() == asdict(progress).keys() and kept["subject"] in ("", *subjects):
        progress = Progress(**kept)
    audit = _Audit(lease)
    stop_at = time.monotonic() + seconds
    if not progress.subject:
        for whole in laws.WHOLE_CHECKS:
            if whole.is_in_full:
                audit.check(whole, None)
        progress.subject = subjects[0]
    for subject in laws.SUBJECTS[subjects.index(progress.subject) :]:
        if subject.name != progress.subject:
            progress.subject = subject.name
            progress.after = None
        progress.after, is_done = audit.check_after(subject, progress.after, stop_at=stop_at)
        if not is_done:
            break
    unchecked = [law for law, found in audit.found.items() if found.not_checked]
    # Not later than now: the clock may have been set back since the full audit began.
    started_at = min(datetime.fromisoformat(progress.started_at), now)

    def record() -> None:
        state = lease.lock()
        overflowed = law_status.record(audit.found, at=now, replaces=False)
        progress.uncovered = sorted({*progress.uncovered, *unchecked})
        progress.overflowed = sorted({*progress.overflowed, *overflowed})
        if is_done:
            covered = laws.LAWS.keys() - set(progress.uncovered)
            law_status.record_full(covered, at=started_at, partly=partly, overflowed=progress.overflowed)
            state.full_at = started_at
        state.progress = None if is_done else asdict(progress)
        state.save(update_fields=["progress", "full_at"])

    partly = {check.law for check in laws.WHOLE_CHECKS if not check.is_in_full}
    transactions.run_or_savepoint(record, transactions.REPEATABLE)
    if is_done:
        log.info("full audit done", seconds=round((clock.now() - started_at).total_seconds(), 1))


class _Audit:
    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self.found = {law: Findings() for law in laws.LAWS}

    def check_suspects(self) -> None:
        """Check the rows again in which a law was found broken."""
        subjects: list[Subject | WholeCheck] = [*laws.SUBJECTS, *laws.WHOLE_CHECKS]
        for status in LawStatus.objects.order_by("law"):
            for name, kept in status.suspects:
                rows = range(kept["first"], kept["last"] + 1) if isinstance(kept, dict) else kept
                for subject in subjects:
                    if subject.name == name:
                        self.check(subject, rows, only=status.law)

    def check_new(self, subject: Subject, marks: Values) -> None:
        """Check the subject's current rows, and those after the mark of the audit before the last.

        So each new row is checked twice: also once its work has ended, or its transaction was committed late.
        Sets the new marks. Without any they are placed at the end: a full audit checks the rows before.
        """
        # As in a check: one row that can't be read leaves these laws unchecked, and all others checked.
        with self._unchecked_if_it_fails(*dict(subject.checks)):
            for rows in subject.current_chunks():
                self.check(subject, rows)
            before_last, last = marks.get(subject.name) or [subject.last_key()] * 2
            after, is_end = self.check_after(subject, before_last, stop_at=time.monotonic() + NEW_SECONDS)
            marks[subject.name] = [last if is_end else after, after]
            marks[UNFINISHED] |= not is_end

    def check_after(self, subject: Subject, after: Any, *, stop_at: float) -> tuple[Any, bool]:
        """Check the chunks that follow a key, until then: the last key, and whether none is left."""
        for rows in subject.chunks(after):
            self.check(subject, rows)
            after = rows[-1]
            if time.monotonic() > stop_at:
                return after, False
        return after, True

    def check(self, subject: Subject | WholeCheck, rows: Chosen, *, only: str = "") -> None:
        for law, check in subject.checks:
            if only in ("", law):
                self._lease.renew()
                started = time.monotonic()
                with self._unchecked_if_it_fails(law):
                    report = check(rows)
                    seconds = time.monotonic() - started
                    self.found[law].add(report, name=subject.name, rows=rows, seconds=seconds)

    @contextmanager
    def _unchecked_if_it_fails(self, *affected: str) -> Iterator[None]:
        try:
            yield
        except LeaseLost:
            raise
        except NotChecked as reason:
            for law in affected:
                self.found[law].not_checked = str(reason)
        except Exception as error:
            connection.close_if_unusable_or_obsolete()
            for law in affected:
                log.warning("law not checked", law=law, error=error, exc_info=not isinstance(error, Error))
                self.found[law].not_checked = f"{type(error).__name__}: {error}"
