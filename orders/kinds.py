"""The kinds of saga there are: whoever imports this makes them known to the engine."""

from orders import giving_back, purchase, top_ups
from orders.models import Saga
from orders.steps import KINDS, Kind

NAMES = (purchase.NAME, top_ups.NAME, giving_back.NAME)


def of(saga: Saga) -> Kind:
    """The steps of this saga, and what goes with them."""
    return KINDS[saga.kind]
