from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("shop", "0003_months_are_not_archived")]

    operations = [
        migrations.AlterModelOptions(
            name="journalline",
            options={
                "permissions": [("export_list", "Can export the lists that it can view as CSV")],
                "verbose_name": "journal line",
                "verbose_name_plural": "who did what",
            },
        )
    ]
