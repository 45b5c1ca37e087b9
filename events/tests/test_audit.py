"""The audit names each damage of the event feed: L15, each event once, at positions without gaps."""

from datetime import timedelta
from functools import partial
from uuid import UUID, uuid4

import pytest
from django.db import IntegrityError, transaction
from django.db.models import F

from events import audit
from events.feed import reading, recording, sequencing
from events.models import FeedEvent, FeedState
from events.tests.following import record
from foundation import journal
from foundation.db import transactions
from foundation.models import JournalLine
from foundation.tests.constraints import without_constraint
from foundation.tests.racing import race

pytestmark = pytest.mark.django_db(transaction=True)
DAY = timedelta(days=1)


def note(number: int, what="order.placed"):
    """A line of the journal, with the event that it is."""
    line = partial(journal.note, what=what, subject=f"order {number}", order_id=UUID(int=number))
    transactions.run(line, transactions.ONCE)


@pytest.fixture
def feed():
    """Events at positions 1 to 8, of which six are lines of the journal, and a line that is none."""
    note(1)
    note(1, "order.paid")
    record("product", type="product.sold_out")
    for number in (2, 3, 4):
        note(number)
    note(4, "payment.started")
    note(5)
    record("again", type="product.restocked")
    assert sequencing.sequence() == 8
    assert offenders() == []


def offenders() -> list[str]:
    """What the audit finds, of the whole feed and in chunks, which must agree."""
    whole = {name for one in audit.audit() for name in one.offenders}
    chunks = {name for one in audit.WHOLE_CHECKS for name in one.check().offenders}
    for subject in audit.SUBJECTS:
        for rows in subject.chunks():
            assert isinstance(rows, range)
            chunks |= {name for _, check in subject.checks for name in check(rows).offenders}
    assert whole == chunks
    return sorted(whole)


def line_of(number: int) -> JournalLine:
    return JournalLine.objects.get(order_id=UUID(int=number), what="order.placed")


def at(position: int):
    return FeedEvent.objects.filter(position=position)


def test_lines_and_their_events_have_one_id(feed):
    named = JournalLine.objects.exclude(event_id=None).values_list("event_id", flat=True)
    assert len(named) == 6
    assert set(named) < set(FeedEvent.objects.values_list("event_id", flat=True))
    assert sum(one.checked for one in audit.audit()) == 8 + 6


DAMAGE = {
    "an event is lost": (lambda: at(5).delete(), lambda: [f"journal line {line_of(3).pk}", "position 5"]),
    "an event without a line is lost": (lambda: at(3).delete(), lambda: ["position 3"]),
    "the last event is lost": (lambda: at(8).delete(), lambda: ["position 8"]),
    "the first event after the retention is lost": (lambda: sweep_to(2, lost=3), lambda: ["position 3"]),
    "an event should have been deleted": (lambda: sweep_to(1), lambda: ["event at 1"]),
    "a position not given": (lambda: FeedState.objects.update(last_position=7), lambda: ["event at 8"]),
    "an event lost its id, and its line the event": (
        lambda: at(6).update(event_id=uuid4()),
        lambda: [f"journal line {line_of(4).pk}"],
    ),
}


@pytest.mark.parametrize(("damage", "named"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_position_or_event_is_named(feed, damage, named):
    damage()
    assert offenders() == named()


@pytest.fixture
def in_runs():
    """Runs at positions 1 to 3, 4 to 5, 6, and 7 to 8."""
    for names in ("abc", "de", "f", "gh"):
        record(*names)
    assert sequencing.sequence() == 8
    assert offenders() == []


def named(*names: str):
    return FeedEvent.objects.filter(data__name__in=names)


def alone(name: str) -> str:
    return f"event {named(name).get().event_id}"


def move_on(position: int, *, by: int):
    """Move the runs from this position on, one after the other."""
    # So that none meets another one's position.
    order = "-position" if by > 0 else "position"
    for run in FeedEvent.objects.filter(position__gte=position).order_by(order):
        at(run.position).update(position=F("position") + by)
    FeedState.objects.update(last_position=F("last_position") + by)


DAMAGE_OF_RUNS = {
    "a run is lost": (lambda: named("d", "e").delete(), lambda: ["position 5"]),
    "the last run is lost": (lambda: named("g", "h").delete(), lambda: ["position 8"]),
    "a run lost its first event": (lambda: named("d").delete(), lambda: [alone("e"), "position 5"]),
    "a run lost an event inside": (lambda: named("b").delete(), lambda: ["position 2"]),
    "a run lost its last event": (lambda: named("c").delete(), lambda: ["position 3"]),
    "the last run lost its last event": (lambda: named("h").delete(), lambda: ["position 8"]),
    "a run lost all events but the first": (lambda: named("b", "c").delete(), lambda: ["position 3"]),
    "a run is cut short": (lambda: at(4).update(run_length=1), lambda: [alone("e"), "position 5"]),
    "a run overlaps another": (lambda: at(4).update(position=3), lambda: ["event at 3", "position 5"]),
    "all later runs overlap": (lambda: move_on(4, by=-1), lambda: ["event at 3"]),
    "all later runs are behind a gap": (lambda: move_on(4, by=1), lambda: ["position 4"]),
    "an event is in no run": (
        lambda: named("f").update(position=None, run_offset=1),
        lambda: [alone("f"), "position 6"],
    ),
    "a run's last event is not given its position": (
        lambda: FeedState.objects.update(last_position=7),
        lambda: ["event at 8"],
    ),
    "a position is given to no event": (
        lambda: FeedState.objects.update(last_position=9),
        lambda: ["position 9"],
    ),
}


@pytest.mark.parametrize(("damage", "found"), DAMAGE_OF_RUNS.values(), ids=DAMAGE_OF_RUNS)
def test_a_damaged_run_is_named(in_runs, damage, found):
    damage()
    assert offenders() == sorted(found())


def sweep_to(position: int, *, lost=0):
    FeedState.objects.update(swept_position=position)
    FeedEvent.objects.filter(position__lte=lost).delete()


def test_a_line_whose_event_was_never_recorded_is_named(feed):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recording, "from_journal", lambda lines: [])
        note(6)
    assert offenders() == [f"journal line {line_of(6).pk}"]


def test_a_second_event_of_an_id_is_refused(feed):
    twin = at(6).get()
    twin.pk, twin.position = None, None
    with pytest.raises(IntegrityError), transaction.atomic():
        twin.save(force_insert=True)


def test_two_events_at_a_position_leave_a_gap_that_is_named(feed):
    with without_constraint(FeedEvent, "events_feedevent_one_run_per_position"):
        at(5).update(position=4)
        assert offenders() == ["position 5"]


def test_events_without_a_position_are_no_gap_and_archived_lines_no_loss(feed):
    record("later")
    note(7)
    assert offenders() == []
    JournalLine.objects.filter(order_id__in=[UUID(int=1), UUID(int=3)]).delete()
    assert offenders() == []


def grow_old():
    """The first five events, and their lines, are older than the retention."""
    FeedEvent.objects.filter(position__lte=5).update(at=F("at") - 9 * DAY)
    JournalLine.objects.filter(order_id__lte=UUID(int=3)).update(at=F("at") - 9 * DAY)


@pytest.mark.parametrize("days", [0, 9])
def test_events_that_were_deleted_after_the_retention_are_no_gap(days, feed, settings):
    grow_old()
    assert reading.delete_old() == 5
    settings.EVENT_RETENTION_SECONDS += days * 86_400
    assert offenders() == []


def test_a_loss_after_others_were_deleted_is_named(feed):
    grow_old()
    FeedEvent.objects.filter(position__gte=6).update(at=F("at") - DAY)
    JournalLine.objects.filter(order_id__gt=UUID(int=3)).update(at=F("at") - DAY)
    assert reading.delete_old() == 5
    note(9)
    assert sequencing.sequence() == 1
    at(9).delete()
    assert offenders() == [f"journal line {line_of(9).pk}", "position 9"]


def test_an_audit_beside_writers_sequencers_and_deletions_finds_nothing(feed):
    grow_old()

    def write():
        for number in range(100, 140):
            note(number)
        return []

    def sequence():
        for _ in range(20):
            sequencing.sequence()
        return [] if reading.delete_old() >= 0 else ["?"]

    def examine():
        return [name for _ in range(20) for one in audit.audit() for name in one.offenders]

    works = [write, write, sequence, sequence, examine, examine]
    assert race(works) == [[]] * len(works)
