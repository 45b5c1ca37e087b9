"""Celery's consumer in a worker, without what the shop doesn't use."""

from celery.worker import consumer

DELAYED_DELIVERY = "celery.worker.consumer.delayed_delivery:DelayedDelivery"


class Consumer(consumer.Consumer):
    """Declares no queues for delayed tasks.

    With quorum queues Celery declares 28 more of them, at each node of the broker in turn, before it takes
    the first task; a node that is down delays each start and each reconnection by seconds. The shop delays no
    tasks: what is due later is a column and a sweep.
    """

    class Blueprint(consumer.Consumer.Blueprint):
        default_steps = [
            step for step in consumer.Consumer.Blueprint.default_steps if step != DELAYED_DELIVERY
        ]
