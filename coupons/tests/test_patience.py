"""Places for threads that wait for a partner."""

from coupons.partners import patience


def test_a_place_goes_back_to_where_it_was_taken() -> None:
    """As for the slower of two threads that were the first to come: the places that are kept are others."""
    with patience.place():
        taken_from = patience._places()
        patience.forget()

    assert patience._places() is not taken_from
    assert taken_from._value == patience._places()._value
