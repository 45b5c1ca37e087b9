"""The class of work of each saga, whose share of the workers it waits for."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [("orders", "0001_initial")]

    operations = [
        migrations.AddField(
            "saga",
            "work_class",
            models.CharField(
                choices=[
                    ("new", "new payments"),
                    ("again", "due again"),
                    ("refund", "refunds"),
                    ("recovery", "recovery"),
                ],
                db_default="again",
                default="again",
                help_text="Whose share of the workers it waits for.",
                max_length=8,
                verbose_name="work class",
            ),
        ),
        migrations.AddIndex(
            "saga",
            models.Index(fields=["work_class", "next_attempt_at"], name="orders_saga_by_work_class"),
        ),
    ]
