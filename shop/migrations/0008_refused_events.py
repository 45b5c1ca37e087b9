"""Since when an event is refused: it counts as dead only when the same was answered for long enough.

A nullable column at the table's end, which both servers add at once however long the journal is. Processes of the
release before know nothing of it, and are not asked for it.
"""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("shop", "0007_search_the_journal")]
    operations = [
        migrations.AddField(
            model_name="journalline",
            name="refused_at",
            field=models.DateTimeField(
                blank=True,
                help_text="Since when it is refused for good, with the same answer each time.",
                null=True,
            ),
        ),
    ]
