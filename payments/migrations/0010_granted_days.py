"""What each operator granted in a day, which `GRANT_DAY_AMOUNT` limits."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("payments", "0009_payments_that_need_the_customer"),
    ]

    operations = [
        migrations.CreateModel(
            name="GrantsOfDay",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("operator_id", models.BigIntegerField(verbose_name="operator id")),
                ("day", models.DateField(db_index=True, verbose_name="day")),
                ("amount", models.BigIntegerField(default=0, verbose_name="amount")),
                ("approved_amount", models.BigIntegerField(default=0, verbose_name="approved amount")),
            ],
            options={
                "verbose_name": "grants of a day",
                "verbose_name_plural": "grants of days",
                "constraints": [
                    models.UniqueConstraint(
                        fields=("operator_id", "day"), name="payments_grantsofday_one_per_operator_and_day"
                    )
                ],
            },
        ),
    ]
