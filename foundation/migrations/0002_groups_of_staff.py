"""The groups Viewer, Support, Operations and Finance, with the permissions that docs/operators.md lists.

The permissions are created here too, because Django creates them only after all migrations. A group whose
name is taken is an operator's own, and stays as it is. Each group is created with its permissions in one
transaction, so a migration that was cut short goes on with the groups that are missing.
"""

import structlog
from django.db import migrations, transaction

DISABLE = ("auth.disable_user", "Can disable, enable and sign out customers")
EXPORT = ("shop.export_list", "Can export the lists that it can view as CSV")
NAMES = dict([DISABLE, EXPORT])
# The models of permissions whose names don't end with them.
MODELS = {"shop.export_list": "journalline"}

ORDERS = ["orders.view_order", "orders.view_orderline", "orders.view_refund", "orders.view_refundline"]
SAGAS = ["orders.view_saga", "orders.view_sagalog"]
LEDGER = ["payments.view_ledgeraccount", "payments.view_transfer", "payments.view_entry"]
COUPONS = ["coupons.view_coupon", "coupons.view_queueticket", "coupons.view_confirmation"]
STOCK = ["inventory.view_stockmovement", "inventory.view_delivery"]
LAWS = ["shop.view_lawstatus", "shop.view_auditstate"]
GOODS = ["coupons.view_campaign", "inventory.view_product", "sales.view_sale", "sales.view_saleproduct"]

GROUPS = {
    "Viewer": [*GOODS, *STOCK, *ORDERS, *SAGAS, "payments.view_reconciliation", *LAWS],
    "Support": [
        *GOODS,
        *COUPONS,
        *ORDERS,
        *SAGAS,
        *LEDGER,
        "sales.view_saleentry",
        "payments.view_payment",
        "auth.view_user",
        "shop.view_journalline",
        "events.view_webhookdelivery",
        "accounts.view_signout",
        "shop.view_idempotencykey",
        "coupons.add_coupon",
        "coupons.change_coupon",
        "orders.change_order",
        "orders.add_refund",
        "payments.change_payment",
        "auth.disable_user",
    ],
    "Operations": [
        *GOODS,
        *COUPONS,
        *STOCK,
        *ORDERS,
        *SAGAS,
        *LAWS,
        "sales.view_saleentry",
        "coupons.view_poolcode",
        "payments.view_payment",
        "payments.view_webhookevent",
        "payments.view_reconciliation",
        "shop.view_journalline",
        "accounts.view_signout",
        "shop.view_idempotencykey",
        "shop.view_committedtransaction",
        "events.view_feedevent",
        "events.view_webhookendpoint",
        "events.view_webhookdelivery",
        "accounts.view_apikey",
        "shop.view_approval",
        "coupons.add_campaign",
        "coupons.change_campaign",
        "coupons.add_poolcode",
        "coupons.change_poolcode",
        "coupons.add_eligibleaccount",
        "inventory.add_product",
        "inventory.change_product",
        "inventory.add_stockmovement",
        "sales.add_sale",
        "sales.change_sale",
        "orders.change_saga",
        "payments.change_payment",
        "shop.change_journalline",
        "events.add_webhookendpoint",
        "events.change_webhookendpoint",
        "accounts.add_apikey",
        "accounts.change_apikey",
        "shop.export_list",
    ],
    "Finance": [
        *GOODS,
        "coupons.view_coupon",
        "inventory.view_stockmovement",
        *ORDERS,
        *SAGAS,
        *LEDGER,
        "payments.view_payment",
        "payments.view_webhookevent",
        "payments.view_reconciliation",
        "auth.view_user",
        "shop.view_journalline",
        "events.view_webhookdelivery",
        "shop.view_lawstatus",
        "shop.view_approval",
        "orders.add_refund",
        "payments.add_transfer",
        "payments.change_payment",
        "payments.change_reconciliation",
        "shop.change_approval",
        "shop.export_list",
    ],
}

log = structlog.get_logger(__name__)


def create_groups(apps, schema_editor):
    using = schema_editor.connection.alias
    Group = apps.get_model("auth", "Group")
    for group_name, names in GROUPS.items():
        with transaction.atomic(using=using):
            group, is_new = Group.objects.using(using).get_or_create(name=group_name)
            if is_new:
                group.permissions.set([_permission(apps, using, name) for name in names])
        if not is_new:
            log.warning("group is there already and was left as it is", group=group_name)


def _permission(apps, using, name):
    """The permission, created if it is not there yet, under the name that Django would give it."""
    app, codename = name.split(".")
    action, _, model_name = codename.partition("_")
    model = apps.get_model(app, MODELS.get(name, model_name))
    kinds = apps.get_model("contenttypes", "ContentType").objects.using(using)
    kind, _ = kinds.get_or_create(app_label=app, model=model._meta.model_name)
    permission, _ = (
        apps.get_model("auth", "Permission")
        .objects.using(using)
        .get_or_create(
            content_type=kind,
            codename=codename,
            defaults={"name": NAMES.get(name) or f"Can {action} {model._meta.verbose_name}"},
        )
    )
    return permission


class Migration(migrations.Migration):
    atomic = False
    dependencies = [
        ("shop", "0001_initial"),
        ("accounts", "0001_initial"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
        ("coupons", "0001_initial"),
        ("events", "0001_initial"),
        ("inventory", "0002_movements"),
        ("orders", "0001_initial"),
        ("payments", "0001_initial"),
        ("sales", "0002_products_and_entries"),
    ]
    # Reversed, the groups stay: they may have members.
    operations = [migrations.RunPython(create_groups, migrations.RunPython.noop, atomic=False)]
