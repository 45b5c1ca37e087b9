"""When an operator had an event replayed or sent again: it becomes dead that much later.

A nullable column at the table's end, which both servers add at once however long the journal is. Processes of the
release before know nothing of it, and are not asked for it.
"""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("shop", "0015_names_of_models_and_fields")]
    operations = [
        migrations.AddField(
            model_name="journalline",
            name="requeued_at",
            field=models.DateTimeField(
                blank=True,
                help_text="When an operator had it replayed or sent again: its age counts from then.",
                verbose_name="requeued at",
                null=True,
            ),
        ),
    ]
