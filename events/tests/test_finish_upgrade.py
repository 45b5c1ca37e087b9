"""The feed beside processes of release 2.0, which give each event its own position, and `finish_upgrade`."""

from functools import partial

import pytest
from django.core.management import call_command

from events import audit
from events.feed import reading, rows, runs, sequencing
from events.models import FeedEvent, FeedState
from events.tests.following import Follower, publish, reader, record
from foundation.tests.racing import race

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def upgraded():
    """As `migrate` leaves the feed of release 2.0."""
    FeedState.objects.create(pk=rows.ROW, runs_after=None)


def sequence_as_2_0(*, most=2_000):
    """What a sequencer of release 2.0 does, which knows no runs."""
    state = FeedState.objects.get()
    for event in FeedEvent.objects.filter(position=None).order_by("id")[:most]:
        state.last_position += 1
        FeedEvent.objects.filter(pk=event.pk).update(position=state.last_position)
    state.save(update_fields=["last_position"])


def names_as_2_0() -> list[str]:
    """What a reader of release 2.0 finds."""
    found = FeedEvent.objects.filter(position__gt=0).order_by("position")
    last = FeedState.objects.get().last_position
    assert [event.position for event in found] == [*range(1, last + 1)]
    return [event.data["name"] for event in found]


def own_positions() -> list[int | None]:
    return list(FeedEvent.objects.order_by("id").values_list("position", flat=True))


def is_sound() -> bool:
    return not any(law.offenders for law in audit.audit()) and not reading.missing_positions()


def test_until_it_is_finished_each_event_gets_its_own_position(upgraded):
    publish("a", "b", "c")
    record("d")
    record("e", "f")
    sequence_as_2_0()
    publish("g", "h")
    assert own_positions() == [*range(1, 9)]
    assert names_as_2_0() == Follower(reader(), limit=3).read_all() == list("abcdefgh")
    assert is_sound()


def test_from_then_on_the_first_event_of_a_run_has_the_position_and_what_was_left_has_its_own(upgraded):
    follower = Follower(reader(), limit=3)
    publish("a", "b", "c")
    assert follower.read_all() == list("abc")
    record("d", "e")
    call_command("finish_upgrade")
    call_command("finish_upgrade")
    publish("f", "g")
    assert own_positions() == [1, 2, 3, 4, 5, 6, None]
    assert FeedState.objects.get().runs_after == 5
    assert follower.read_all() == Follower(reader()).read_all() == list("abcdefg")
    assert is_sound()


def test_a_batch_takes_no_part_of_a_run(upgraded, monkeypatch):
    """Else nothing would find the rest until another event commits."""
    monkeypatch.setattr(sequencing, "RUNS_PER_TRANSACTION", 3)
    record("a", "b")
    record("c", "d")
    assert sequencing.sequence(most_batches=1) == 2
    assert sequencing.sequence() == 2
    assert own_positions() == [1, 2, 3, 4]


@pytest.mark.parametrize("position", range(4))
def test_what_comes_after_a_position_begins_in_the_midst_of_a_run(position):
    publish("a", "b", "c")
    record("d")
    after = runs.events_after(position).order_by("pk")
    assert [event.data["name"] for event in after] == ["a", "b", "c", "d"][position:]


def test_a_run_that_a_batch_of_2_0_has_cut_is_read_in_its_order(upgraded):
    follower = Follower(reader())
    record("a", "b", "c")
    sequence_as_2_0(most=1)
    page = reading.read_page(after=0, patterns=[], limit=10)
    assert ([event.data["name"] for event in page.events], page.is_end) == (["a"], True)
    assert is_sound()
    # As if another transaction, which drew its id before, had committed meanwhile.
    record("late")
    FeedEvent.objects.filter(data__name="late").update(position=2)
    FeedState.objects.update(last_position=2)
    page = reading.read_page(after=0, patterns=[], limit=10)
    assert [event.data["name"] for event in page.events] == ["a", "late"]
    assert is_sound()
    call_command("finish_upgrade")
    publish("d", "e")
    assert follower.read_all() == ["a", "late", "b", "c", "d", "e"]
    assert is_sound()


def test_a_new_shop_goes_by_runs():
    publish("a", "b")
    assert (FeedState.objects.get().runs_after, own_positions()) == (0, [1, None])


def test_the_way_back_gives_each_event_its_own_position(monkeypatch):
    monkeypatch.setattr(sequencing, "RUNS_BACK_PER_TRANSACTION", 2)
    for names in ("abc", "d", "ef", "gh", "i"):
        record(*names)
    publish("j", "k")
    record("l", "m")
    call_command("finish_upgrade", "--back")
    sequence_as_2_0()
    publish("n", "o")
    assert names_as_2_0() == Follower(reader(), limit=4).read_all() == list("abcdefghijklmno")
    call_command("finish_upgrade")
    publish("p", "q")
    assert Follower(reader(), limit=4).read_all() == list("abcdefghijklmnopq")
    assert is_sound()


def test_a_way_back_that_is_interrupted_changes_no_position_and_is_taken_again(monkeypatch):
    monkeypatch.setattr(sequencing, "RUNS_BACK_PER_TRANSACTION", 2)
    for names in ("abc", "de", "fg", "h"):
        publish(*names)
    read, left = runs.read, [2]

    def interrupt(*arguments, **named):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return read(*arguments, **named)

    monkeypatch.setattr(runs, "read", interrupt)
    with pytest.raises(KeyboardInterrupt):
        call_command("finish_upgrade", "--back")
    monkeypatch.setattr(runs, "read", read)
    publish("i", "j")
    assert None in own_positions()
    assert Follower(reader(), limit=3).read_all() == list("abcdefghij")
    assert is_sound()
    call_command("finish_upgrade", "--back")
    assert names_as_2_0() == list("abcdefghij")


def test_readers_get_each_event_once_while_the_feed_goes_by_runs_and_back():
    followers = [Follower(reader(), limit=limit) for limit in (7, 50)]
    written = [[f"{writer}-{number}" for number in range(60)] for writer in range(4)]
    FeedState.objects.create(pk=rows.ROW)

    def write(names):
        for start in range(0, len(names), 3):
            record(*names[start : start + 3])

    def turn():
        for _ in range(10):
            sequencing.go_by_events()
            sequencing.go_by_runs()

    def follow(follower):
        while len(follower.names) < 4 * 60:
            follower.read()

    works = [
        *(partial(write, names) for names in written),
        turn,
        *(partial(follow, one) for one in followers),
    ]
    assert race(works, timeout=50) == [None] * len(works)
    assert followers[0].names == followers[1].names
    for names in written:
        assert [name for name in followers[0].names if name in set(names)] == names
    assert is_sound()
