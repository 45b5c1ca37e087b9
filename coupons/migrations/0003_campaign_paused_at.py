from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('coupons', '0002_confirmations_and_tickets'),
    ]

    operations = [
        migrations.AddField(
            model_name='campaign',
            name='paused_at',
            field=models.DateTimeField(blank=True, editable=False, null=True),
        ),
    ]
