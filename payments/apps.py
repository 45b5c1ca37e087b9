"""The app's registration, the rows it can't be without, and what it tells at each look at the metrics."""

from typing import Any

from django.apps import AppConfig
from django.apps import apps as installed
from django.db.models.signals import post_migrate


class PaymentsConfig(AppConfig):
    name = "payments"

    def ready(self) -> None:
        from payments import payment_states, webhooks
        from payments.reconciliation import reconciling
        from shop.idempotency import recorded_answers
        from shop.observability import gauges

        recorded_answers.register_unsettled_finder(payment_states.unsettled_references)
        post_migrate.connect(open_shop_accounts, sender=self)
        gauges.register(
            "firstcome_webhooks_unhandled",
            help="Events of gateways that are still to be worked on.",
            read=webhooks.unhandled_count,
        )
        gauges.register(
            "firstcome_reconciliation_differences",
            help="What the latest comparisons with the gateway's book have left to a person.",
            read=reconciling.left_counts,
            label="of",
        )
        gauges.register(
            "firstcome_reconciliation_age_seconds",
            help="How long ago the gateway's book was last compared to its end.",
            read=reconciling.age_seconds,
        )


def open_shop_accounts(*, using: str, apps: Any = installed, **context: Any) -> None:
    """Make the shop's own accounts where they are missing: after each `migrate`, and after `flush` too."""
    try:
        account = apps.get_model("payments", "LedgerAccount")
    except LookupError:
        return  # Migrated back to before there were accounts.
    # The states of a migration have no constants of ours, so they are read here.
    from payments.models import SHOP_ACCOUNTS

    account.objects.using(using).bulk_create(
        [account(id=id, kind=kind) for id, kind in SHOP_ACCOUNTS.items()], ignore_conflicts=True
    )
