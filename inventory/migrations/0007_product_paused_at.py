from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('inventory', '0006_plain_words'),
    ]

    operations = [
        migrations.AddField(
            model_name='product',
            name='paused_at',
            field=models.DateTimeField(blank=True, editable=False, help_text="Since when it can't be ordered; empty: it can.", null=True),
        ),
    ]
