"""The app's registration, the rows it needs, and its gauges."""

from typing import Any

from django.apps import AppConfig, apps as installed
from django.db.models.signals import post_migrate
from django.utils.translation import gettext_lazy as _


class PaymentsConfig(AppConfig):
    name = "payments"
    verbose_name = _("Payments")

    def ready(self) -> None:
        from foundation.idempotency import recorded_answers
        from foundation.observability import gauges
        from payments import disputes, points_grants, rows, webhooks
        from payments.reconciliation import reconciling

        recorded_answers.register_unsettled_finder(rows.unsettled_references)
        post_migrate.connect(open_shop_accounts, sender=self)
        gauges.register(
            "firstcome_webhooks_unhandled",
            "Events of gateways that are not handled yet.",
            webhooks.unhandled_count,
        )
        gauges.register(
            "firstcome_disputes_open",
            "Disputes of charges that await an answer at the gateway, or its decision.",
            disputes.open_disputes().count,
        )
        gauges.register(
            "firstcome_points_granted_today",
            "Points that each operator granted today, in minor units.",
            points_grants.granted_today,
            label="operator",
        )
        gauges.register(
            "firstcome_reconciliation_differences",
            "Differences from the gateway's book that the latest comparisons left to an operator.",
            reconciling.left_counts,
            label="of",
        )
        gauges.register(
            "firstcome_reconciliation_age_seconds",
            "How long ago a comparison with the gateway's book was last completed.",
            reconciling.age_seconds,
        )


def open_shop_accounts(*, using: str, apps: Any = installed, **context: Any) -> None:
    """Create the shop's own accounts where they are missing: after each `migrate` and `flush`."""
    try:
        account = apps.get_model("payments", "LedgerAccount")
    except LookupError:
        return  # Migrated back to before the table existed.
    # Historical models have no constants, so the current ones are imported.
    from payments.models import SHOP_ACCOUNTS

    account.objects.using(using).bulk_create(
        [account(id=id, kind=kind) for id, kind in SHOP_ACCOUNTS.items()], ignore_conflicts=True
    )
