"""Compensate a saga, or confirm a compensation at another system that doesn't answer."""

from orders.management.operators import SagaCommand
from orders.saga import operator_actions, operator_texts


class Command(SagaCommand):
    help = f"{operator_texts.COMPENSATE.title} a saga. Exits 1 if that is refused."
    text, action = operator_texts.COMPENSATE, operator_actions.force_compensate
