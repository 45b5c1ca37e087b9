"""The app's registration, and the rows it can't be without."""

from typing import Any

from django.apps import AppConfig
from django.apps import apps as installed
from django.db.models.signals import post_migrate


class PaymentsConfig(AppConfig):
    name = "payments"

    def ready(self) -> None:
        post_migrate.connect(open_shop_accounts, sender=self)


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
