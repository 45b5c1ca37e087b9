"""The records of archived months leave the models; their tables stay, which the release before reads and writes.

The foreign key goes, because MariaDB copies the table to add one again.
"""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("shop", "0002_groups_of_staff")]

    operations = [
        migrations.AlterField(
            "archivedpaidevent",
            "month",
            models.ForeignKey(
                "shop.ArchivedMonth",
                django.db.models.deletion.PROTECT,
                null=True,
                related_name="+",
                db_constraint=False,
            ),
        ),
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.RemoveField("archivedpaidevent", "month"),
                migrations.DeleteModel("ArchivedMonth"),
            ]
        ),
    ]
