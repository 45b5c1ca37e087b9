"""Indexes for operators' searches of the journal by actor, by what happened and by time.

Made in place, while the shop sells: some 10 s each for each million lines.
"""

from django.db import migrations, models

ACTORS = [
    ("account", "Account"),
    ("staff", "Staff"),
    ("system", "System"),
    ("anon", "not signed in"),
]


class Migration(migrations.Migration):
    dependencies = [("shop", "0006_event_ids_and_commit_marks")]
    operations = [
        # In the database nothing changes by this one.
        migrations.AlterField("journalline", "actor", models.CharField(choices=ACTORS, max_length=8)),
        migrations.AddIndex(
            "journalline", models.Index(fields=["actor_id", "id"], name="shop_journalline_of_actor")
        ),
        migrations.AddIndex(
            "journalline", models.Index(fields=["what", "id"], name="shop_journalline_of_what")
        ),
        migrations.AddIndex("journalline", models.Index(fields=["at"], name="shop_journalline_by_instant")),
    ]
