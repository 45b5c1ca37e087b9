"""Celery's consumer in a worker, without what the shop doesn't use."""

from typing import Any

from celery.worker import consumer
from structlog import get_logger

DELAYED_DELIVERY = "celery.worker.consumer.delayed_delivery:DelayedDelivery"
log = get_logger(__name__)


class Consumer(consumer.Consumer):
    """Declares no queues for delayed tasks, and outlives a connection that can't give its messages back.

    With quorum queues Celery declares 28 more, at each node in turn, before the first task. The shop delays
    no tasks: what is due later is a column and a sweep.
    """

    class Blueprint(consumer.Consumer.Blueprint):
        default_steps = [
            step for step in consumer.Consumer.Blueprint.default_steps if step != DELAYED_DELIVERY
        ]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Of a task that ends after the connection was lost that its message came by, whose address kombu has
        # forgotten as well: its acknowledgement would end the worker.
        self.connection_errors = (*self.conninfo.connection_errors, AttributeError)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Close the connection that broke; Celery opens another one.

        kombu gives unacknowledged messages back to Redis by the address of the connection, which it has
        forgotten when Redis was away (celery/kombu#582): the worker would end. They come again after the
        visibility timeout, and the sweeps find their work before.
        """
        try:
            super().on_connection_error_after_connected(exc)
        except AttributeError as error:
            log.warning("messages were not given back to the broker", error=str(error))
