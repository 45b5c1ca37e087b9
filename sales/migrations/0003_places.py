"""An account's place in a sale: of its entries at most one belongs to an order that is open or paid."""

from functools import partial

from django.db import migrations, models
from django.db.models import Exists, OuterRef

from foundation.db import transactions

HOLDING = ["awaiting_payment", "paying", "paid", "refunding", "refunded"]
ROWS = 1_000


def hold_places(apps, schema_editor):
    """Have the used entries of open and paid orders hold their places, one for each account and sale.

    The audit names the others.
    """
    entries = apps.get_model("sales", "SaleEntry").objects
    used = entries.filter(status="used", holds_place=None, order__status__in=HOLDING)
    holders = entries.filter(sale=OuterRef("sale"), account=OuterRef("account"), holds_place=True)
    left = used.exclude(Exists(holders)).order_by("pk")
    while found := list(left.values_list("sale", "account", "pk")[:ROWS]):
        one_each = {(sale, account): pk for sale, account, pk in found}
        chosen = entries.filter(pk__in=one_each.values())
        transactions.run(partial(chosen.update, holds_place=True), transactions.REPEATABLE)


class Migration(migrations.Migration):

    atomic = False

    dependencies = [("sales", "0002_products_and_entries")]

    operations = [
        migrations.AddField(
            "saleentry",
            "holds_place",
            models.BooleanField(editable=False, null=True, verbose_name="holds the place"),
        ),
        migrations.AddConstraint(
            "saleentry",
            models.UniqueConstraint(
                fields=("sale", "account", "holds_place"), name="sales_saleentry_one_place_per_account"
            ),
        ),
        migrations.RunPython(hold_places, migrations.RunPython.noop),
    ]
