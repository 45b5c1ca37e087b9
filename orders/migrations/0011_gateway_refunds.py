"""Where a refund began, and whether it was reduced. The release before makes refunds of staff alone."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('orders', '0010_irreversible_sagas'),
    ]

    operations = [
        migrations.AddField(
            model_name='refund',
            name='is_reduced',
            field=models.BooleanField(db_default=False, default=False, help_text='The gateway had less left of the charge than was to be refunded.', verbose_name='is reduced'),
        ),
        migrations.AddField(
            model_name='refund',
            name='source',
            field=models.CharField(choices=[('staff', 'staff'), ('gateway', 'gateway'), ('late_charge', 'late charge')], db_default='staff', default='staff', help_text='Where it began.', max_length=16, verbose_name='source'),
        ),
    ]
