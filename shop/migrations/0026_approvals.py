"""Acts that need two operators, and who may approve them: the group that grants points and refunds orders.

The group that acts on sagas sees what it asked for. A group whose members may not do that is an operator's own,
and stays as it is. The permissions are created here too: Django creates them only after all migrations.
"""

import importlib

import shop.fields
from django.db import migrations, models


groups_of_staff = importlib.import_module("shop.migrations.0014_groups_of_staff")

VIEW, DECIDE = "shop.view_approval", "shop.change_approval"
# By group: what its members hold, and what they get.
GROUPS = {
    "Finance": ({"payments.add_transfer", "orders.add_refund"}, [VIEW, DECIDE]),
    "Operations": ({"orders.change_saga", "coupons.add_campaign"}, [VIEW]),
}


def grant(apps, schema_editor):
    using = schema_editor.connection.alias
    for name, (held, rights) in GROUPS.items():
        group = apps.get_model("auth", "Group").objects.using(using).filter(name=name).first()
        if group is not None and groups_of_staff._names(group) >= held:
            group.permissions.add(*_permissions(apps, using, rights))


def withdraw(apps, schema_editor):
    using = schema_editor.connection.alias
    for name, (_, rights) in GROUPS.items():
        group = apps.get_model("auth", "Group").objects.using(using).filter(name=name).first()
        if group is not None:
            group.permissions.remove(*_permissions(apps, using, rights))


def _permissions(apps, using, rights):
    return [groups_of_staff._permission(apps, using, name) for name in rights]


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("shop", "0025_event_ids_once"),
    ]

    operations = [
        migrations.CreateModel(
            name="Approval",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("kind", models.CharField(max_length=32, verbose_name="kind")),
                ("subject", shop.fields.ExactCharField(max_length=96, verbose_name="subject")),
                ("arguments", models.JSONField(verbose_name="arguments")),
                ("account_id", models.BigIntegerField(blank=True, null=True, verbose_name="account id")),
                ("asker_id", models.BigIntegerField(blank=True, null=True, verbose_name="asker id")),
                ("asker_name", models.CharField(max_length=150, verbose_name="asked by")),
                ("reason", models.CharField(max_length=255, verbose_name="reason")),
                ("asked_at", models.DateTimeField(verbose_name="asked at")),
                (
                    "status",
                    models.CharField(
                        choices=[("waiting", "waiting"), ("approved", "approved"), ("refused", "refused")],
                        db_index=True,
                        default="waiting",
                        max_length=8,
                        verbose_name="status",
                    ),
                ),
                ("decider_id", models.BigIntegerField(blank=True, null=True, verbose_name="decider id")),
                ("decider_name", models.CharField(blank=True, max_length=150, verbose_name="decided by")),
                ("answer", models.CharField(blank=True, max_length=255, verbose_name="answer")),
                ("decided_at", models.DateTimeField(blank=True, null=True, verbose_name="decided at")),
                ("outcome", models.CharField(blank=True, max_length=255, verbose_name="outcome")),
            ],
            options={
                "verbose_name": "approval",
                "verbose_name_plural": "approvals",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("decided_at__isnull", True),
                                ("decider_id__isnull", True),
                                ("status", "waiting"),
                            ),
                            models.Q(
                                ("decided_at__isnull", False),
                                ("decider_id__isnull", False),
                                ("status__in", ["approved", "refused"]),
                            ),
                            _connector="OR",
                        ),
                        name="shop_approval_decided_ones_have_a_decider",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("status", "approved"), _negated=True),
                            ("asker_id__isnull", True),
                            models.Q(("decider_id", models.F("asker_id")), _negated=True),
                            _connector="OR",
                        ),
                        name="shop_approval_by_another_than_its_asker",
                    ),
                ],
            },
        ),
        migrations.RunPython(grant, withdraw, atomic=False),
    ]
