"""The app's registration, with its saga types and its gauges, and the row it needs."""

from contextlib import suppress
from typing import Any

from django.apps import AppConfig, apps as installed
from django.db.models.signals import post_migrate
from django.utils.translation import gettext_lazy as _


class OrdersConfig(AppConfig):
    name = "orders"
    verbose_name = _("Orders")

    def ready(self) -> None:
        from celery.signals import celeryd_init

        from foundation.idempotency import recorded_answers
        from foundation.observability import gauges
        from orders import cancellation
        from orders.metrics import state
        from orders.payment import gateway_bookings, purchase, refund_saga, refunding, top_ups, unreachable
        from orders.saga.definitions import SAGA_TYPES
        from payments.reconciliation import reconciling
        from sales.waiting_room import joining

        post_migrate.connect(make_number_counter, sender=self)
        assert {purchase.KIND, top_ups.KIND, refund_saga.KIND} == set(SAGA_TYPES)
        recorded_answers.register_unsettled_finder(refunding.unsettled_references)
        celeryd_init.connect(unreachable.refuse_to_start)
        joining.ORDER_ENDERS.append(cancellation.expire_unlocked)
        reconciling.BOOKERS.append(gateway_bookings.look_up)
        reconciling.RECORDERS.append(gateway_bookings.record_late_refund)

        state.register()
        gauges.register(
            "firstcome_orders_overdue",
            "Unpaid orders that should have expired a minute ago and still hold stock.",
            cancellation.overdue_count,
        )


def make_number_counter(*, using: str, apps: Any = installed, **context: Any) -> None:
    """Make the counter of order numbers where it is missing: after each `migrate` and `flush`."""
    # A database that is migrated back to before the table existed has no such model.
    with suppress(LookupError):
        apps.get_model("orders", "NumberState").objects.using(using).get_or_create(pk=1)
