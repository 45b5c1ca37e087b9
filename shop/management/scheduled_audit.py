"""The scheduled audit: every `AUDIT_SECONDS` what has changed, once a day all rows, some seconds at a time.

Both give the apps' checks chunks of rows, outside any transaction, so each statement is short and a migration
waits for none of them for long. A broken chunk is a suspect: every audit checks it again, and only that
clears the law.
"""

import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from django.conf import settings
from django.db import Error, connection
from structlog import get_logger

from shop import clock
from shop.db import transactions
from shop.db.mysql.patience import statement_limit
from shop.management import laws
from shop.models import AuditState, LawStatus
from shop.operations.audits import audit_state, law_status
from shop.operations.audits.audit_report import NotChecked
from shop.operations.audits.audit_scope import Changes, Check, Rows, Subject, WholeCheck, is_ahead, place_mark
from shop.operations.audits.audit_state import Lease, Progress
from shop.operations.audits.law_status import Findings

log = get_logger(__name__)
# A statement that takes longer leaves its law unchecked. All attempts of `migrate` wait for longer than this.
STATEMENT_SECONDS = 20
# A full audit goes on for so long at each call, so that a worker can be stopped.
FULL_SECONDS = 10.0


def run_due() -> bool:
    """Do what is due: the audit of changes, then a part of a full one. Returns whether something was.

    Does nothing while another process audits. Must be called outside a transaction.
    """
    with audit_state.leased() as lease:
        if lease is None:
            return False
        try:
            with statement_limit(connection, seconds=STATEMENT_SECONDS):
                return _run_due(lease)
        except audit_state.LeaseLost:
            log.warning("audit stopped: another process has its lease")
            return False


def _run_due(lease: Lease) -> bool:
    now = clock.now()
    state = AuditState.objects.get(pk=audit_state.ROW)
    interval = timedelta(seconds=settings.AUDIT_SECONDS)
    is_due = (
        state.audited_at is None or now - state.audited_at >= interval or is_ahead(state.audited_at, now=now)
    )
    if is_due:
        audit_changes(lease, now=now)
        state.refresh_from_db()
    is_full = state.progress is not None or is_full_due(state, now=now) or law_status.is_full_needed()
    if is_full:
        continue_full(lease, now=now)
    return is_due or is_full


def is_full_due(state: AuditState, *, now: datetime) -> bool:
    """Whether no full audit began since the hour of the full audit, in UTC by the database's clock."""
    due_at = now.replace(hour=settings.AUDIT_FULL_HOUR, minute=0, second=0, microsecond=0)
    if due_at > now:
        due_at -= timedelta(days=1)
    return state.full_at is None or state.full_at < due_at or is_ahead(state.full_at, now=now)


def audit_changes(lease: Lease, *, now: datetime) -> None:
    """Check what has changed since the audit before, all suspects, and what is cheap to check whole."""
    state = AuditState.objects.get(pk=audit_state.ROW)
    audit_state.drop_marks_ahead(state, now=now)
    # Placed before anything is read: rows that are committed meanwhile belong to the next audit too.
    mark, since = place_mark(laws.COUNTED_TABLES, at=now), audit_state.mark_to_read_from(state)
    audit = _Audit(lease)
    audit.check_suspects()
    audit.check_whole([check for check in laws.WHOLE_CHECKS if check.is_frequent])
    if since is not None:
        changes = Changes(since)
        for subject in laws.SUBJECTS:
            for rows in audit.changed_chunks(subject, changes):
                audit.check_subject(subject, rows)

    def record() -> None:
        state = lease.lock()
        law_status.bound_instants(at=now)
        law_status.record_incremental(audit.found, at=now)
        audit_state.drop_marks_ahead(state, now=now)
        audit_state.add_mark(state, mark)
        state.audited_at = now
        state.save(update_fields=["marks", "progress", "audited_at", "full_at"])

    transactions.run_or_savepoint(record, transactions.REPEATABLE)


def continue_full(lease: Lease, *, now: datetime, seconds: float = FULL_SECONDS) -> None:
    """Begin a full audit, or go on with the one under way, for so long."""
    state = AuditState.objects.get(pk=audit_state.ROW)
    subjects = [subject.name for subject in laws.SUBJECTS]
    progress = audit_state.read_progress(state, subjects=subjects) or Progress(started_at=now.isoformat())
    audit, stop_at = _Audit(lease), time.monotonic() + seconds
    if not progress.subject:
        audit.check_whole([check for check in laws.WHOLE_CHECKS if check.is_in_full])
        progress.subject = laws.SUBJECTS[0].name
    for subject in _subjects_from(progress.subject):
        if subject.name != progress.subject:
            progress.subject, progress.after = subject.name, None
        if not _check_remaining_chunks(audit, subject, progress, stop_at=stop_at):
            break
    else:
        progress.subject = ""
    _record_part(lease, audit, progress, now=now)


def _check_remaining_chunks(audit: "_Audit", subject: Subject, progress: Progress, *, stop_at: float) -> bool:
    """Check the subject's chunks after the progress; False if the time is over before the last one."""
    while rows := subject.next_chunk(progress.after):
        audit.check_subject(subject, rows)
        progress.after = rows[-1]
        if time.monotonic() > stop_at:
            return False
    return True


def _subjects_from(name: str) -> Sequence[Subject]:
    names = [subject.name for subject in laws.SUBJECTS]
    return laws.SUBJECTS[names.index(name) :]


def _record_part(lease: Lease, audit: "_Audit", progress: Progress, *, now: datetime) -> None:
    for law, findings in audit.found.items():
        progress.checked[law] = progress.checked.get(law, 0) + findings.checked
        if findings.not_checked:
            progress.failed[law] = findings.not_checked
    # Not later than now: the clock may have been set back since the full audit began.
    started_at, is_done = min(datetime.fromisoformat(progress.started_at), now), not progress.subject

    def record() -> None:
        state = lease.lock()
        overflowed = law_status.record_broken(audit.found, at=now)
        progress.overflowed = sorted({*progress.overflowed, *overflowed})
        if is_done:
            covered = {law: n for law, n in progress.checked.items() if law not in progress.failed}
            partly = {check.law for check in laws.WHOLE_CHECKS if not check.is_in_full}
            law_status.record_full(covered, at=started_at, partly=partly, overflowed=progress.overflowed)
            state.full_at = started_at
        audit_state.save_progress(state, None if is_done else progress)

    transactions.run_or_savepoint(record, transactions.REPEATABLE)
    if is_done:
        log.info("full audit done", seconds=round((clock.now() - started_at).total_seconds(), 1))


class _Audit:
    """Runs checks, and keeps what each law's checks found."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self.found = {law: Findings() for law in laws.LAWS}

    def check_suspects(self) -> None:
        """Check the rows again in which a law was found broken."""
        checks = {subject.name: subject.checks for subject in laws.SUBJECTS}
        for whole in laws.WHOLE_CHECKS:
            checks[whole.name] = (*checks.get(whole.name, ()), (whole.law, _of_any_rows(whole)))
        for status in LawStatus.objects.order_by("law"):
            for name, kept in status.suspects:
                for law, check in checks.get(name, ()):
                    if law == status.law:
                        self._check(law, name, law_status.rows_from_json(kept), check)

    def check_whole(self, checks: Sequence[WholeCheck]) -> None:
        """Check all rows of some laws."""
        for whole in checks:
            self._check(whole.law, whole.name, None, _of_any_rows(whole))

    def check_subject(self, subject: Subject, rows: Rows) -> None:
        """Check all laws of the subject for these rows."""
        for law, check in subject.checks:
            self._check(law, subject.name, rows, check)

    def changed_chunks(self, subject: Subject, changes: Changes) -> Iterator[Rows]:
        """The chunks that may have changed; if they can't be read, the subject's laws are not checked."""
        self._lease.renew()
        try:
            yield from subject.changed_chunks(changes)
        except Exception as error:
            # As by a check: one row that can't be read leaves these laws unchecked, and all others checked.
            for law, _ in subject.checks:
                self._fail(law, error)

    def _check(self, law: str, name: str, rows: Rows | None, check: Check) -> None:
        self._lease.renew()
        started = time.monotonic()
        try:
            report = check(rows)
        except NotChecked as reason:
            self.found[law].not_checked = str(reason)
        except Exception as error:
            self._fail(law, error)
        else:
            self.found[law].add(report, name=name, rows=rows, seconds=time.monotonic() - started)

    def _fail(self, law: str, error: Exception) -> None:
        log.warning("law not checked", law=law, error=str(error), exc_info=not isinstance(error, Error))
        self.found[law].not_checked = f"{type(error).__name__}: {error}"
        connection.close_if_unusable_or_obsolete()


def _of_any_rows(whole: WholeCheck) -> Check:
    return lambda rows: whole.check()
