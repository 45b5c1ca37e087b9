"""Who may act on a saga: by its lease, by one that has lapsed, or with a result."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from orders.payment import purchase
from orders.saga.batch import Batch
from orders.saga.definitions import DO, LEASE_LOST, LEASE_SECONDS, Event, SagaRow, StepResult

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
ID = UUID(int=7)
MINE = "mine"
NOTHING = {
    "holds": False,
    "held": False,
    "is_leased": False,
    "has_token": False,
    "is_put_off": False,
    "result": "",
    "is_called": False,
}


def saga_row(*, token: str) -> SagaRow:
    """A purchase that has just begun, with the lease of this token, if any, which has lapsed."""
    return SagaRow(
        id=ID,
        kind=purchase.KIND,
        subject_id=uuid4(),
        about_id=uuid4(),
        request_id="",
        traceparent="",
        state="running",
        direction=DO,
        attempts=0,
        failure_code="",
        failure_detail="",
        open_call="",
        is_irreversible=False,
        lease_token=token,
        leased_until=NOW if token else None,
        next_attempt_at=NOW,
        work_class="new",
        key_number=0,
        deadline_at=NOW + timedelta(minutes=15),
    )


def token_of(facts: dict[str, Any]) -> str:
    """Whose lease the row has."""
    if facts["holds"]:
        return MINE
    return "another's" if facts["is_leased"] or facts["has_token"] else ""


@pytest.mark.parametrize(
    ("known", "may_act", "is_attempt"),
    [
        pytest.param({}, True, False, id="new"),
        pytest.param({"holds": True, "held": True, "is_leased": True}, True, False, id="its own"),
        pytest.param({"holds": True, "is_leased": True}, True, False, id="its own, by a lost reply"),
        pytest.param({"held": True, "is_leased": True}, False, False, id="another took it over"),
        pytest.param({"is_leased": True}, False, False, id="another's"),
        pytest.param(
            {"is_leased": True, "result": "done", "is_called": True},
            True,
            False,
            id="a final result of a call",
        ),
        pytest.param(
            {"is_leased": True, "result": "failed", "is_called": True}, False, False, id="none that is final"
        ),
        pytest.param({"is_leased": True, "is_called": True}, False, False, id="a call without a result"),
        pytest.param({"is_leased": True, "result": "done"}, False, False, id="a result of no call"),
        pytest.param({"has_token": True}, True, True, id="its worker recorded nothing"),
        pytest.param({"has_token": True, "result": "failed"}, True, False, id="with any result"),
        pytest.param({"is_put_off": True}, False, False, id="another lets it rest"),
        pytest.param(
            {"is_put_off": True, "result": "done"}, True, False, id="it rests, and there is a result"
        ),
        pytest.param({"held": True, "has_token": True}, True, True, id="its own has lapsed"),
    ],
)
def test_a_worker_acts_by_its_lease_by_a_lapsed_one_or_with_a_final_result(known, may_act, is_attempt):
    facts = NOTHING | known
    copy = saga_row(token=MINE if facts["held"] else "")
    copy.is_calling = facts["is_called"]
    saga = saga_row(token=token_of(facts))
    if facts["is_leased"]:
        saga.leased_until = NOW + timedelta(seconds=LEASE_SECONDS)
    if facts["is_put_off"]:
        saga.next_attempt_at = NOW + timedelta(seconds=5)
    if facts["result"]:
        saga.result = StepResult(Event(facts["result"]))
    made = Batch({saga.id: copy}, MINE, DO, now=NOW)

    assert made._may_advance(saga) is may_act
    assert [line.result for line in made.lines] == [LEASE_LOST] * is_attempt
