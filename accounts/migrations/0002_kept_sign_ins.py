"""The sign-in that a change of the own password kept, in the row of the sign-out that ended the others."""

from django.db import migrations

import foundation.fields


class Migration(migrations.Migration):

    dependencies = [("accounts", "0001_initial")]

    operations = [
        migrations.AddField(
            "signout",
            "kept",
            foundation.fields.ExactCharField(
                blank=True,
                db_default="",
                default="",
                editable=False,
                max_length=128,
                verbose_name="kept sign-in",
            ),
        ),
    ]
