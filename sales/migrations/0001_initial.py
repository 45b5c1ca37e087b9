"""Sales. Their products and entries follow once there are products and orders."""

import datetime
import django.core.validators
import foundation.fields
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
    ]

    operations = [
        migrations.CreateModel(
            name='Sale',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False,
                    verbose_name='ID')),
                ('name', models.CharField(max_length=255, verbose_name='name')),
                ('opens_at', models.DateTimeField(verbose_name='opens at')),
                ('closes_at', models.DateTimeField(verbose_name='closes at')),
                ('admission', models.CharField(choices=[('open', 'open to all'), ('queue', 'waiting room')],
                    default='open', max_length=8, verbose_name='admission')),
                ('rate_per_minute',
                    models.PositiveIntegerField(help_text='The most accounts that are admitted in any 60 seconds.',
                    validators=[django.core.validators.MinValueValidator(1)],
                    verbose_name='rate per minute')),
                ('admitted_for_seconds',
                    models.PositiveIntegerField(help_text='How long an admitted account may place its order.',
                    validators=[django.core.validators.MinValueValidator(1)],
                    verbose_name='admitted for seconds')),
                ('paused_at', models.DateTimeField(blank=True, editable=False, null=True,
                    verbose_name='paused at')),
                ('seed', foundation.fields.ExactCharField(editable=False, max_length=64, verbose_name='seed')),
                ('seed_hash', foundation.fields.ExactCharField(editable=False, max_length=64,
                    verbose_name='seed hash')),
                ('entries_hash', foundation.fields.ExactCharField(blank=True, editable=False, max_length=64,
                    verbose_name='entries hash')),
                ('drawn_count', models.PositiveBigIntegerField(default=0, editable=False,
                    verbose_name='entries drawn')),
                ('drawn_at', models.DateTimeField(blank=True, editable=False, null=True,
                    verbose_name='drawn at')),
                ('is_ordered', models.BooleanField(default=False, editable=False, verbose_name='is ordered')),
                ('last_position', models.PositiveBigIntegerField(default=0, editable=False,
                    verbose_name='last position')),
                ('passed_position', models.PositiveBigIntegerField(default=0, editable=False,
                    verbose_name='passed position')),
                ('last_admitted_at', models.DateTimeField(blank=True, editable=False, null=True,
                    verbose_name='last admitted at')),
                ('admission_clock_ahead', models.DurationField(default=datetime.timedelta(0), editable=False,
                    verbose_name='admission clock ahead')),
                ('ended_at', models.DateTimeField(blank=True, editable=False,
                    help_text='When its last entries were settled after it closed.', null=True,
                    verbose_name='ended at')),
                ('version', models.PositiveBigIntegerField(default=0, editable=False,
                    verbose_name='version')),
                ('created_at', models.DateTimeField(auto_now_add=True, verbose_name='created at')),
            ],
            options={
                'verbose_name': 'sale',
                'verbose_name_plural': 'sales',
                'indexes': [
                    models.Index(fields=['ended_at', 'opens_at'], name='sales_sale_unended'),
                    models.Index(fields=['paused_at'], name='sales_sale_paused'),
                ],
                'constraints': [
                    models.CheckConstraint(condition=models.Q(('closes_at__gt', models.F('opens_at'))),
                        name='sales_sale_closes_after_opening',
                        violation_error_message='The sale must close after it opens.'),
                    models.CheckConstraint(condition=models.Q(('rate_per_minute__gte', 1)),
                        name='sales_sale_rate_positive'),
                    models.CheckConstraint(condition=models.Q(('admitted_for_seconds__gte', 1)),
                        name='sales_sale_admitted_for_positive'),
                    models.CheckConstraint(condition=models.Q(('passed_position__lte',
                        models.F('last_position'))), name='sales_sale_passed_within_last'),
                    models.CheckConstraint(condition=models.Q(models.Q(('drawn_at__isnull', True),
                        ('entries_hash', ''), ('is_ordered', False), ('last_position', 0)),
                        models.Q(('drawn_at__isnull', False), models.Q(('entries_hash', ''), _negated=True)),
                        _connector='OR'), name='sales_sale_positions_after_the_draw'),
                ],
            },
        ),
    ]
