"""Which state of a payment follows which."""

import pytest

from payments.transitions import ENDED_UNPAID, SOURCES, TRANSITIONS, UNSETTLED, Status

pytestmark = pytest.mark.rules


@pytest.mark.parametrize(
    ("target", "sources"),
    [
        pytest.param(Status.PENDING, ["in_doubt"], id="pending again once the gateway waits for its owner"),
        pytest.param(Status.IN_DOUBT, ["pending"], id="in doubt without an answer"),
        pytest.param(Status.SUCCEEDED, ["pending", "in_doubt"], id="succeeded"),
        pytest.param(Status.FAILED, ["pending", "in_doubt"], id="failed"),
        pytest.param(Status.REVERSED, ["pending", "in_doubt", "succeeded"], id="reversed after its charge"),
    ],
)
def test_a_payment_becomes(target, sources):
    assert SOURCES[target] == sources


@pytest.mark.parametrize("status", Status)
def test_what_is_unsettled_has_no_end_yet(status):
    assert (status in UNSETTLED) == (len(TRANSITIONS[status]) > 1)


def test_what_ended_unpaid_never_changes():
    assert [TRANSITIONS[status] for status in ENDED_UNPAID] == [frozenset(), frozenset()]
