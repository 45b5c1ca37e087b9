"""What a saga does next: who may act on it, what a result leads to, when it is tried again."""

from datetime import UTC, datetime, timedelta

import pytest

from orders.saga import progress
from orders.saga.progress import Action, Claim, Turn

pytestmark = pytest.mark.rules
NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
LATER = NOW + timedelta(seconds=1)
NOTHING = {
    "holds": False,
    "held": False,
    "is_leased": False,
    "has_token": False,
    "is_put_off": False,
    "result": "",
    "is_called": False,
}


@pytest.mark.parametrize(
    ("known", "claim"),
    [
        pytest.param({}, Claim.HELD, id="new"),
        pytest.param({"holds": True, "held": True, "is_leased": True}, Claim.HELD, id="its own"),
        pytest.param({"holds": True, "is_leased": True}, Claim.HELD, id="its own, by a lost reply"),
        pytest.param({"held": True, "is_leased": True}, Claim.NONE, id="another took it over"),
        pytest.param({"is_leased": True}, Claim.NONE, id="another's"),
        pytest.param(
            {"is_leased": True, "result": "done", "is_called": True},
            Claim.HELD,
            id="a final result of a call",
        ),
        pytest.param(
            {"is_leased": True, "result": "failed", "is_called": True}, Claim.NONE, id="none that is final"
        ),
        pytest.param({"is_leased": True, "is_called": True}, Claim.NONE, id="a call without a result"),
        pytest.param({"is_leased": True, "result": "done"}, Claim.NONE, id="a result of no call"),
        pytest.param({"has_token": True}, Claim.LEASE_LOST, id="its worker recorded nothing"),
        pytest.param({"has_token": True, "result": "failed"}, Claim.HELD, id="with any result"),
        pytest.param({"is_put_off": True}, Claim.NONE, id="another lets it rest"),
        pytest.param(
            {"is_put_off": True, "result": "done"}, Claim.HELD, id="it rests, and there is a result"
        ),
        pytest.param({"held": True, "has_token": True}, Claim.LEASE_LOST, id="its own has lapsed"),
    ],
)
def test_a_worker_acts_by_its_lease_by_a_lapsed_one_or_with_a_final_result(known, claim):
    assert progress.claim(**NOTHING | known) == claim


@pytest.mark.parametrize(
    ("event", "code", "can_compensate", "turn"),
    [
        pytest.param("done", "", True, Turn.GO_ON, id="done"),
        pytest.param("forced", "why", True, Turn.GO_ON, id="confirmed by an operator"),
        pytest.param("done", "charge_refunded", True, Turn.COMPENSATE, id="done, and undone meanwhile"),
        pytest.param("done", "charge_refunded", False, Turn.GO_ON, id="done past the point of no return"),
        pytest.param("refused", "declined", True, Turn.COMPENSATE, id="refused"),
        pytest.param("refused", "declined", False, Turn.RETRY, id="refused past the point of no return"),
        pytest.param("failed", "", True, Turn.RETRY, id="failed"),
        pytest.param("pending", "", True, Turn.RETRY, id="pending"),
        pytest.param("requires_action", "", True, Turn.RETRY, id="waits for a person"),
    ],
)
def test_a_result_goes_on_is_retried_or_compensates(event, code, can_compensate, turn):
    assert progress.turn_after(event, code, can_compensate=can_compensate) == turn


@pytest.mark.parametrize(
    ("is_over", "needs_operator", "can_compensate", "turn"),
    [
        pytest.param(False, False, True, Turn.RETRY, id="in time"),
        pytest.param(True, False, True, Turn.COMPENSATE, id="past its time"),
        pytest.param(True, False, False, Turn.RETRY, id="past it and the point of no return"),
        pytest.param(True, True, True, Turn.NEEDS_OPERATOR, id="an operator decides"),
    ],
)
def test_past_its_time_a_saga_is_compensated_unless_an_operator_decides(
    is_over, needs_operator, can_compensate, turn
):
    found = progress.turn_of_attempt(
        is_over=is_over, needs_operator=needs_operator, can_compensate=can_compensate
    )

    assert found == turn


@pytest.mark.parametrize(
    ("deadline_at", "can_compensate", "is_stuck"),
    [
        pytest.param(LATER, False, False, id="in time"),
        pytest.param(NOW, False, True, id="at its deadline"),
        pytest.param(NOW, True, False, id="that can be compensated"),
    ],
)
def test_past_its_deadline_a_saga_that_can_not_be_compensated_is_stuck(deadline_at, can_compensate, is_stuck):
    assert progress.is_stuck(NOW, deadline_at, can_compensate=can_compensate) is is_stuck


@pytest.mark.parametrize(
    ("deadline_at", "can_compensate", "is_repeat", "is_too_late"),
    [
        pytest.param(LATER, True, False, False, id="in time"),
        pytest.param(NOW, True, False, True, id="at the deadline"),
        pytest.param(NOW, False, False, False, id="past the point of no return"),
        pytest.param(NOW, True, True, False, id="a call that may have been made"),
    ],
)
def test_past_its_deadline_nothing_new_is_started_that_can_be_undone(
    deadline_at, can_compensate, is_repeat, is_too_late
):
    found = progress.is_too_late(NOW, deadline_at, can_compensate=can_compensate, is_repeat=is_repeat)

    assert found is is_too_late


@pytest.mark.parametrize(
    ("overdue_seconds", "is_uncalled", "is_undo", "pause"),
    [
        pytest.param(-60, False, False, (9, None), id="in time"),
        pytest.param(-60, True, False, (4, None), id="not called"),
        pytest.param(-60, False, True, (9, 30.0), id="a compensation"),
        pytest.param(0, False, False, (9, 30.0), id="at the deadline"),
        pytest.param(599, False, False, (9, 30.0), id="soon after it"),
        pytest.param(600, False, True, (9, None), id="long after it"),
    ],
)
def test_what_holds_something_is_retried_soon_after_its_deadline(
    overdue_seconds, is_uncalled, is_undo, pause
):
    deadline_at = NOW - timedelta(seconds=overdue_seconds)

    found = progress.retry_pause(9, NOW, deadline_at, is_uncalled=is_uncalled, is_undo=is_undo)

    assert found == pause


@pytest.mark.parametrize(
    ("is_undo", "is_other_direction", "has_step", "is_outside", "action"),
    [
        pytest.param(False, False, True, True, Action.CALL, id="a call"),
        pytest.param(False, True, True, True, Action.WAIT, id="a call, in a batch that undoes"),
        pytest.param(False, False, True, False, Action.WAIT, id="a local step"),
        pytest.param(False, False, False, False, Action.END, id="the end"),
        pytest.param(False, True, False, False, Action.END, id="the end, in a batch that undoes"),
        pytest.param(True, False, True, True, Action.UNDO, id="an undo"),
        pytest.param(True, False, False, False, Action.UNDO, id="the last of an undo"),
        pytest.param(True, True, True, True, Action.WAIT, id="an undo, in a batch that does"),
        pytest.param(True, True, False, False, Action.WAIT, id="the last of an undo, in a batch that does"),
    ],
)
def test_a_saga_calls_undoes_ends_or_joins_another_batch(
    is_undo, is_other_direction, has_step, is_outside, action
):
    found = progress.next_action(
        is_undo=is_undo, is_other_direction=is_other_direction, has_step=has_step, is_outside=is_outside
    )

    assert found == action
