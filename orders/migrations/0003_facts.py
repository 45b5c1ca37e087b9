"""Columns for what was read from texts and from the journal; refunds under way that had failed get them."""

from django.db import migrations, models


def copy_from_journal(apps, schema_editor):
    sagas = apps.get_model("orders", "Saga").objects.filter(
        kind="refund", ended_at__isnull=True, attempts__gt=0
    )
    for saga in sagas:
        lines = apps.get_model("shop", "JournalLine").objects.filter(
            subject=f"refund {saga.subject_id}", what__in=("saga.retried", "refund_card.failed")
        )
        references, number, by_hand_amount = set(), 0, 0
        for line in lines.order_by("id"):
            if line.what == "saga.retried":
                number = len(references)
                by_hand_amount = max(by_hand_amount, (line.after or {}).get("refunded_by_hand_amount", 0))
            elif line.reference:
                references.add(line.reference)
        code = "refused" if saga.last_error.startswith("declined ") else ""
        sagas.filter(id=saga.id).update(key_number=number)
        refunds = apps.get_model("orders", "Refund").objects.filter(id=saga.subject_id)
        refunds.update(by_hand_amount=by_hand_amount, refusal_code=code)


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("orders", "0002_work_classes"), ("shop", "0001_initial")]

    operations = [
        migrations.AddField(
            "refund",
            "by_hand_amount",
            models.PositiveBigIntegerField(
                db_default=0,
                default=0,
                help_text="What was refunded at the gateway by hand when an operator had this one made besides it.",
                verbose_name="amount by hand",
            ),
        ),
        migrations.AddField(
            "refund",
            "refusal_code",
            models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="Why the gateway refused the last attempt, if it did.",
                max_length=64,
                verbose_name="refusal code",
            ),
        ),
        migrations.AddField(
            "saga",
            "key_number",
            models.PositiveSmallIntegerField(
                db_default=0,
                default=0,
                help_text="How many calls had failed for good under their keys when an operator last retried it.",
                verbose_name="key number",
            ),
        ),
        migrations.AddField(
            "sagalog",
            "amount",
            models.PositiveBigIntegerField(
                blank=True,
                help_text="What it moved at the other system, if that is known.",
                null=True,
                verbose_name="amount",
            ),
        ),
        migrations.RunPython(copy_from_journal, migrations.RunPython.noop, atomic=False),
    ]
