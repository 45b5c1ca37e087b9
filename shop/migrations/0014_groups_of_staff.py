"""The groups Viewer, Support, Operations and Finance, with the permissions that docs/operators.md lists.

The permissions are created here too: on a new database Django creates them only after all migrations. A group
whose name is taken already is an operator's own and stays as it is, for its members must not gain rights by an
update. Each group is created with its permissions in one transaction, so a migration that was cut short goes on
with the groups that are missing.
"""

import structlog
from django.db import migrations, transaction

DISABLE = ("auth.disable_user", "Can disable customers and sign them out")
EXPORT = ("shop.export_list", "Can export the lists that it can view as CSV")
NAMES = dict([DISABLE, EXPORT])

ORDERS = ["orders.view_order", "orders.view_orderline", "orders.view_refund", "orders.view_refundline"]
SAGAS = ["orders.view_saga", "orders.view_sagalog"]
LEDGER = ["payments.view_ledgeraccount", "payments.view_transfer", "payments.view_entry"]
COUPONS = ["coupons.view_coupon", "coupons.view_queueticket", "coupons.view_confirmation"]
STOCK = ["inventory.view_stockmovement", "inventory.view_delivery"]
LAWS = ["shop.view_lawstatus", "shop.view_auditstate"]
GOODS = ["coupons.view_campaign", "inventory.view_product"]

GROUPS = {
    "Viewer": [*GOODS, *STOCK, *ORDERS, *SAGAS, "payments.view_reconciliation", *LAWS],
    "Support": [
        *GOODS,
        *COUPONS,
        *ORDERS,
        *SAGAS,
        *LEDGER,
        "payments.view_payment",
        "auth.view_user",
        "shop.view_journalline",
        "shop.view_signout",
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
        "coupons.view_poolcode",
        "payments.view_payment",
        "payments.view_webhookevent",
        "payments.view_reconciliation",
        "shop.view_journalline",
        "shop.view_signout",
        "shop.view_idempotencykey",
        "shop.view_committedtransaction",
        "shop.view_recordedtrace",
        "coupons.add_campaign",
        "coupons.change_campaign",
        "coupons.add_poolcode",
        "coupons.change_poolcode",
        "inventory.add_product",
        "inventory.change_product",
        "inventory.add_stockmovement",
        "orders.change_saga",
        "payments.change_payment",
        "shop.change_journalline",
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
        "shop.view_lawstatus",
        "orders.add_refund",
        "payments.add_transfer",
        "payments.change_payment",
        "payments.change_reconciliation",
        "shop.export_list",
    ],
}
# The models of permissions whose names don't end with them.
MODELS = {"auth.disable_user": "user", "shop.export_list": "journalline"}

log = structlog.get_logger(__name__)


def create_groups(apps, schema_editor):
    using = schema_editor.connection.alias
    Group = apps.get_model("auth", "Group")
    permissions = {
        name: _permission(apps, using, name) for names in GROUPS.values() for name in names
    }
    for group_name, names in GROUPS.items():
        with transaction.atomic(using=using):
            group, is_new = Group.objects.using(using).get_or_create(name=group_name)
            if is_new:
                group.permissions.set([permissions[name] for name in names])
        if not is_new:
            log.warning("group is there already and was left as it is", group=group_name)


def delete_groups(apps, schema_editor):
    """Delete the groups that are as they were created and have no members; an operator uses the others."""
    using = schema_editor.connection.alias
    Group, Permission = apps.get_model("auth", "Group"), apps.get_model("auth", "Permission")
    for group_name, names in GROUPS.items():
        with transaction.atomic(using=using):
            group = Group.objects.using(using).filter(name=group_name).first()
            if group is None or group.user_set.exists() or _names(group) != set(names):
                continue
            group.delete()
    app, codename = DISABLE[0].split(".")
    unused = Permission.objects.using(using).filter(group=None, user=None)
    unused.filter(content_type__app_label=app, codename=codename).delete()


def _permission(apps, using, name):
    """The permission, created if it is not there yet, under the name that Django would give it."""
    app, codename = name.split(".")
    action, _, model_name = codename.partition("_")
    model = apps.get_model(app, MODELS.get(name, model_name))
    kind, _ = (
        apps.get_model("contenttypes", "ContentType")
        .objects.using(using)
        .get_or_create(app_label=app, model=model._meta.model_name)
    )
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


def _names(group):
    found = group.permissions.values_list("content_type__app_label", "codename")
    return {f"{app}.{codename}" for app, codename in found}


class Migration(migrations.Migration):
    atomic = False
    dependencies = [
        ("shop", "0013_permission_to_export"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
        ("coupons", "0002_confirmations_and_tickets"),
        ("inventory", "0006_plain_words"),
        ("orders", "0005_limit_of_lines_and_units_of_orders"),
        ("payments", "0004_plain_words"),
    ]
    operations = [migrations.RunPython(create_groups, delete_groups, atomic=False)]
