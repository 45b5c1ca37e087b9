"""Compensate a saga, or confirm a compensation at another system that doesn't answer."""

from orders.management.operators import SagaCommand
from orders.saga import operator_actions


class Command(SagaCommand):
    action = operator_actions.COMPENSATE
    help = f"{action.title} a saga. Exits 1 if that is refused."
