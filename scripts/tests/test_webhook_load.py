"""`make webhook-load`: what counts as missing, twice and out of sequence, and how events are spread."""

import pytest

from scripts.bench.costs import webhook_load, webhook_receivers
from scripts.bench.costs.webhook_receivers import Receiver

WRITTEN_AT = [10.0 + number for number in range(8)]


def receiver(*numbers: int, repeated: int = 0) -> Receiver:
    """One that got these events, each a second after it was written; of so many an id came again."""
    instants = [WRITTEN_AT[number] + 1 for number in numbers]
    ids = {str(index).encode() for index in range(len(numbers) - repeated)}
    return Receiver(numbers=list(numbers), instants=instants, ids=ids)


@pytest.mark.parametrize(
    ("numbers", "repeated", "found"),
    [
        (range(8), 0, (0, 0, 0)),
        # Other orders may be ahead.
        ((4, 0, 5, 1, 6, 2, 7, 3), 0, (0, 0, 0)),
        ((0, 1, 2, 4, 5, 6, 7), 0, (1, 0, 0)),
        ((0, 1, 1, 2, 3, 4, 5, 6, 7), 1, (0, 1, 0)),
        ((1, 0, 2, 3, 4, 5, 6, 7), 0, (0, 0, 1)),
    ],
)
def test_each_event_counts_once_and_an_orders_events_in_sequence(numbers, repeated, found):
    one = webhook_receivers.found([receiver(*range(8)), receiver(*numbers, repeated=repeated)], WRITTEN_AT, 9)
    assert (one["missing"], one["twice"], one["out_of_sequence"]) == found
    assert webhook_load.is_right(one) is (found == (0, 0, 0))


def test_the_lag_is_from_the_event_to_its_webhook():
    one = webhook_receivers.found([receiver(*range(8))], WRITTEN_AT, 9)
    assert set(one["lag_seconds"].values()) == {1.0}
    assert (one["behind_seconds"], one["took_seconds"]) == (1.0, 9.0)


@pytest.mark.parametrize("events", [1, 15, 16, 100])
def test_each_event_is_written_once_and_after_the_one_before_of_its_order(events: int):
    numbers = [webhook_receivers.number_at(index, events) for index in range(events)]
    assert sorted(numbers) == list(range(events))
    assert webhook_receivers.out_of_sequence(numbers) == 0
