"""The engine alone, with steps that write down what they do: the barrier, the lease, the sweeper."""

from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from django.utils import timezone

from inventory.models import Product
from inventory.tests.factories import ProductFactory
from orders import saga, steps
from orders.models import Saga, SagaLog
from orders.saga_log import DO, UNDO, Event, Heard
from orders.steps import KINDS, Kind, Local, Outside
from shop.errors import Rejected
from shop.tests.racing import race

pytestmark = pytest.mark.django_db(transaction=True)


class World:
    """What the steps change: a counter in the database for the local one, a list for the outside."""

    def __init__(self) -> None:
        self.product: Product = ProductFactory.create(on_hand=0)
        self.calls: list[str] = []
        self.hears = Heard(Event.DONE, reference="outside-1")
        self.refuses = False

    def count(self, saga: Saga, by: int) -> str:
        self.product.refresh_from_db()
        Product.objects.filter(id=self.product.id).update(on_hand=self.product.on_hand + by)
        if self.refuses:
            raise Rejected("not today", code="not_today")
        return f"{by:+d}"

    @property
    def counted(self) -> int:
        self.product.refresh_from_db()
        return self.product.on_hand

    def call(self, word: str) -> Heard:
        self.calls.append(word)
        return self.hears


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    KINDS["test"] = Kind(
        name="test",
        steps=(
            Local("local", do=lambda row: made.count(row, 1), undo=lambda row: made.count(row, -1)),
            Outside("outside", do=lambda row: made.call("do"), undo=lambda row: made.call("undo")),
            Local("pivot", do=lambda row: made.count(row, 10)),
            Outside("tell", do=lambda row: made.call("tell")),
        ),
        lock=lambda subject_id: None,
        compensated=lambda row: None,
    )
    yield made
    del KINDS["test"]


def started(*, kind: str = "test", give_up_seconds: float = 60) -> Saga:
    row, log = saga.new(kind=kind, subject_id=uuid4(), give_up_seconds=give_up_seconds)
    row.save(force_insert=True)
    SagaLog.objects.bulk_create(log)
    return row


def perform(row: Saga, name: str, direction: str) -> Heard:
    return steps.perform(row.id, KINDS["test"].step(name), direction)


def again(saga_id: UUID) -> Saga:
    return Saga.objects.get(id=saga_id)


def test_all_steps_are_done_in_order(world: World) -> None:
    row = started()
    assert saga.advance(row.id) == Saga.State.DONE
    assert (world.counted, world.calls) == (11, ["do", "tell"])
    assert again(row.id).next_attempt_at is None


@pytest.mark.parametrize(("name", "effect"), [("local", 1), ("outside", ["do"])])
def test_the_same_step_twice_happens_once(world: World, name: str, effect: object) -> None:
    row = started()
    perform(row, name, DO)
    assert perform(row, name, DO).event == Event.DONE
    assert effect in (world.counted, world.calls)


def test_the_same_local_step_by_many_at_once_happens_once(world: World) -> None:
    row = started()
    heard = race([lambda: perform(row, "local", DO)] * 8)
    assert {one.event for one in heard} == {Event.DONE}
    assert world.counted == 1


def test_an_undo_before_its_do_undoes_nothing(world: World) -> None:
    row = started()
    assert perform(row, "local", UNDO).event == Event.SKIPPED
    assert world.counted == 0


@pytest.mark.parametrize("name", ["local", "outside"])
def test_a_do_that_comes_after_its_undo_is_refused(world: World, name: str) -> None:
    row = started()
    perform(row, name, UNDO)
    assert perform(row, name, DO).event == Event.VOID
    assert world.counted == 0
    assert "do" not in world.calls


def test_an_outside_step_of_unknown_outcome_is_undone_outside(world: World) -> None:
    row = started()
    world.hears = Heard(Event.FAILED, "no answer")
    perform(row, "outside", DO)
    world.hears = Heard(Event.DONE)
    perform(row, "outside", UNDO)
    assert world.calls == ["do", "undo"]


def test_the_undo_twice_happens_once(world: World) -> None:
    row = started()
    perform(row, "local", DO)
    perform(row, "local", UNDO)
    perform(row, "local", UNDO)
    assert world.counted == 0


def test_a_refusal_undoes_what_was_done_and_writes_nothing_of_its_own(world: World) -> None:
    row = started()
    perform(row, "local", DO)
    world.hears = Heard(Event.REFUSED, "no", code="declined")
    assert saga.advance(row.id) == Saga.State.COMPENSATED
    assert world.counted == 0
    assert again(row.id).failure_code == "declined"


def test_a_local_step_that_refuses_leaves_no_trace_of_what_it_wrote_before(world: World) -> None:
    row = started()
    world.refuses = True
    assert saga.advance(row.id) == Saga.State.COMPENSATED
    assert world.counted == 0


def test_no_answer_is_asked_again_later_and_costs_no_lease(world: World) -> None:
    row = started()
    world.hears = Heard(Event.FAILED, "no answer")
    assert saga.advance(row.id) == Saga.State.RUNNING
    waiting = again(row.id)
    assert waiting.leased_until is None
    assert waiting.attempts == 1
    assert waiting.next_attempt_at is not None
    assert waiting.next_attempt_at > timezone.now()
    world.hears = Heard(Event.DONE)
    assert saga.advance(row.id) == Saga.State.DONE


def test_no_answer_until_the_deadline_turns_it_round(world: World) -> None:
    row = started(give_up_seconds=-1)
    world.hears = Heard(Event.FAILED, "no answer")
    assert saga.advance(row.id) == Saga.State.STUCK
    assert again(row.id).failure_code == "gave_up"
    world.hears = Heard(Event.DONE)
    assert saga.advance(row.id) == Saga.State.COMPENSATED
    assert world.counted == 0


def test_past_the_point_of_no_return_it_is_stuck_and_still_tried(world: World) -> None:
    row = started()
    for name in ("local", "outside", "pivot"):
        perform(row, name, DO)
    Saga.objects.filter(id=row.id).update(deadline_at=row.created_at)
    world.hears = Heard(Event.FAILED, "no answer")
    assert saga.advance(row.id) == Saga.State.STUCK
    world.hears = Heard(Event.DONE)
    assert saga.advance(row.id) == Saga.State.DONE
    assert world.counted == 11


def test_an_error_that_nobody_foresaw_is_tried_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    row = started()
    monkeypatch.setattr(world, "call", lambda word: 1 / 0)
    assert saga.advance(row.id) == Saga.State.RUNNING
    assert "ZeroDivisionError" in again(row.id).last_error


def test_many_drivers_at_once_are_one_driver(world: World) -> None:
    row = started()
    race([lambda: saga.advance(row.id)] * 8)
    saga.advance(row.id)
    assert (world.counted, world.calls) == (11, ["do", "tell"])


def test_a_driver_that_lost_its_lease_stops_before_it_writes(world: World) -> None:
    row = started()

    def overtaken(word: str) -> Heard:
        if word == "do" and not world.calls:
            world.calls.append("do")
            Saga.objects.filter(id=row.id).update(leased_until=timezone.now())
            world.call = original  # type: ignore[method-assign]
            saga.advance(row.id)
            return Heard(Event.REFUSED, "too late", code="late")
        return original(word)

    original = world.call
    world.call = overtaken  # type: ignore[method-assign]
    assert saga.advance(row.id) == Saga.State.DONE
    assert world.counted == 11


def test_the_sweeper_is_told_of_a_due_saga_once_a_lease(world: World) -> None:
    row = started()
    assert saga.due(limit=10) == []
    Saga.objects.filter(id=row.id).update(next_attempt_at=timezone.now() - timedelta(seconds=1))
    assert saga.due(limit=10) == [row.id]
    assert saga.due(limit=10) == []


@pytest.fixture
def forward_only(world: World) -> Iterator[World]:
    """A kind of saga whose very first step has no undo: there is no way back."""
    KINDS["forward"] = Kind(
        name="forward",
        steps=(
            Outside("outside", do=lambda row: world.call("do")),
            Local("local", do=lambda row: world.count(row, 1)),
        ),
        lock=lambda subject_id: None,
        compensated=lambda row: pytest.fail("it was undone"),
    )
    yield world
    del KINDS["forward"]


def test_without_a_way_back_a_refusal_outside_is_an_attempt_in_vain(forward_only: World) -> None:
    row = started(kind="forward")
    forward_only.hears = Heard(Event.REFUSED, "no", code="declined")
    assert saga.advance(row.id) == Saga.State.RUNNING
    waiting = again(row.id)
    assert (waiting.direction, waiting.attempts, waiting.failure_code) == (DO, 1, "")
    assert waiting.last_error == "refused: no"
    Saga.objects.filter(id=row.id).update(deadline_at=row.created_at)
    assert saga.advance(row.id) == Saga.State.STUCK
    forward_only.hears = Heard(Event.DONE)
    assert saga.advance(row.id) == Saga.State.DONE
    assert forward_only.counted == 1


def test_without_a_way_back_a_local_refusal_leaves_no_trace_and_is_tried_again(forward_only: World) -> None:
    row = started(kind="forward")
    forward_only.refuses = True
    assert saga.advance(row.id) == Saga.State.RUNNING
    assert (again(row.id).direction, forward_only.counted) == (DO, 0)
    forward_only.refuses = False
    assert saga.advance(row.id) == Saga.State.DONE
    assert (forward_only.counted, forward_only.calls) == (1, ["do"])


def test_past_the_point_of_no_return_a_refusal_turns_nothing_round(world: World) -> None:
    row = started()
    for name in ("local", "outside"):
        perform(row, name, DO)
    world.refuses = True
    assert saga.advance(row.id) == Saga.State.RUNNING
    assert (again(row.id).direction, world.counted) == (DO, 1)
    world.refuses = False
    assert saga.advance(row.id) == Saga.State.DONE


def test_what_was_heard_of_one_step_is_not_taken_for_another(world: World) -> None:
    row = started()
    token = saga._take_lease(row.id)
    assert token
    saga.go_on(row, token, Heard(Event.DONE, reference="elsewhere"), called="tell")
    assert world.calls == ["do"]
    assert SagaLog.objects.get(saga=row, step="tell").reference == "elsewhere"


def test_what_was_heard_of_a_do_is_not_taken_for_its_undo(world: World) -> None:
    row = started()
    perform(row, "local", DO)
    Saga.objects.filter(id=row.id).update(direction=UNDO)
    token = saga._take_lease(row.id)
    assert token
    saga.go_on(row, token, Heard(Event.DONE), called="outside")
    assert world.calls == ["undo"]
    assert again(row.id).state == Saga.State.COMPENSATED
