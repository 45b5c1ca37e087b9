"""The gateway's part of L9 for the scheduled audit: the audit doesn't read the gateway's book again, but
looks up, by their keys, the differences that the latest comparisons found.
"""

import time
from collections.abc import Iterator, Sequence
from datetime import timedelta

from django.conf import settings

from payments.models import Reconciliation
from payments.reconciliation import comparison
from payments.reconciliation.reconciling import RESOLVED
from shop import clock
from shop.errors import Unavailable
from shop.operations.audits.audit_report import OFFENDERS_REPORTED, LawReport, NotChecked, report

# A comparison that is older than so many intervals says nothing of the payments since.
INTERVALS_TRUSTED = 3
SHORTEST_TRUST = timedelta(minutes=15)
# For calls of a gateway that is slow: the audit's lease must outlast them.
RECHECK_SECONDS = 20.0


def books_agree() -> LawReport:
    """L9: the latest comparisons found nothing, or what they found is resolved. Offenders are in words.

    At most 100 differences are looked up, for `RECHECK_SECONDS` at most; others count as recorded, and those
    that a comparison did not write down remain until the next one. Raises `NotChecked` when the books were
    not compared lately.
    """
    recent, whole = _latest(is_whole=False), _latest(is_whole=True)
    _refuse_old(recent or whole)
    found = [finding for run in (recent, whole) if run for finding in _left(run)]
    checked = sum(run.checked for run in (recent, whole) if run)
    known = list(dict(found).items())
    more = len(known) - OFFENDERS_REPORTED
    rest = [f"{more} more differences: see the reconciliation"] if more > 0 else []
    unwritten = max((run.differences - len(run.findings) for run in (recent, whole) if run), default=0)
    if unwritten > 0:
        rest.append(
            f"{unwritten} differences that are not written down: resolve the others, and compare again"
        )
    return report("L9", checked, [*_recheck(known[:OFFENDERS_REPORTED]), *rest])


def is_old(run: Reconciliation) -> bool:
    """Whether the comparison says nothing of the payments of now."""
    trust = max(SHORTEST_TRUST, timedelta(seconds=INTERVALS_TRUSTED * settings.RECONCILE_SECONDS))
    return clock.now() - run.ended_at > trust


def _recheck(known: Sequence[tuple[str, str]]) -> Iterator[str]:
    """The differences that remain, in words; as recorded once the gateway fails or the time is over."""
    stop_at = time.monotonic() + RECHECK_SECONDS
    for key, cause in known:
        if time.monotonic() < stop_at:
            try:
                yield from map(str, comparison.recheck([key]))
                continue
            except Unavailable:
                stop_at = float("-inf")
        yield f"{key}: {cause}"


def _latest(*, is_whole: bool) -> Reconciliation | None:
    runs = Reconciliation.objects.filter(unread="", since_at__isnull=is_whole)
    return runs.order_by("-pk").first()


def _refuse_old(run: Reconciliation | None) -> None:
    last = Reconciliation.objects.exclude(unread="").order_by("-pk").first()
    reason = f": {last.unread}" if last and (run is None or last.pk > run.pk) else ""
    if run is None:
        raise NotChecked(f"the gateway's book was never read to its end{reason}")
    if is_old(run):
        raise NotChecked(f"the gateway's book was last read at {run.ended_at:%Y-%m-%d %H:%M} UTC{reason}")


def _left(run: Reconciliation) -> Iterator[tuple[str, str]]:
    """The keys and causes of its differences, without those that it resolved."""
    for finding in run.findings:
        if finding["done"] not in RESOLVED:
            yield finding["key"], finding["cause"]
