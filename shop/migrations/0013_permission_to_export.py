from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("shop", "0012_find_accounts"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="journalline",
            options={"permissions": [("export_list", "Can export the lists that it can view as CSV")]},
        ),
    ]
