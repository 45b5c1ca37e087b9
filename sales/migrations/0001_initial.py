"""Sales, their products, and the entries of accounts in their waiting rooms."""

import datetime
import django.core.validators
import django.db.models.deletion
import shop.fields
import uuid_utils.compat
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('inventory', '0011_carried_stock'),
        ('orders', '0007_names_of_models_and_fields'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='Sale',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=255, verbose_name='name')),
                ('opens_at', models.DateTimeField(verbose_name='opens at')),
                ('closes_at', models.DateTimeField(verbose_name='closes at')),
                ('admission', models.CharField(choices=[('open', 'open to all'), ('queue', 'waiting room')], default='open', max_length=8, verbose_name='admission')),
                ('rate_per_minute', models.PositiveIntegerField(help_text='The most accounts that are admitted in any 60 seconds.', validators=[django.core.validators.MinValueValidator(1)], verbose_name='rate per minute')),
                ('admitted_for_seconds', models.PositiveIntegerField(help_text='How long an admitted account may place its order.', validators=[django.core.validators.MinValueValidator(1)], verbose_name='admitted for seconds')),
                ('paused_at', models.DateTimeField(blank=True, editable=False, null=True, verbose_name='paused at')),
                ('seed', shop.fields.ExactCharField(editable=False, max_length=64, verbose_name='seed')),
                ('seed_hash', shop.fields.ExactCharField(editable=False, max_length=64, verbose_name='seed hash')),
                ('entries_hash', shop.fields.ExactCharField(blank=True, editable=False, max_length=64, verbose_name='entries hash')),
                ('drawn_count', models.PositiveBigIntegerField(default=0, editable=False, verbose_name='entries drawn')),
                ('drawn_at', models.DateTimeField(blank=True, editable=False, null=True, verbose_name='drawn at')),
                ('is_ordered', models.BooleanField(default=False, editable=False, verbose_name='is ordered')),
                ('last_position', models.PositiveBigIntegerField(default=0, editable=False, verbose_name='last position')),
                ('passed_position', models.PositiveBigIntegerField(default=0, editable=False, verbose_name='passed position')),
                ('last_admitted_at', models.DateTimeField(blank=True, editable=False, null=True, verbose_name='last admitted at')),
                ('admission_clock_ahead', models.DurationField(default=datetime.timedelta(0), editable=False, verbose_name='admission clock ahead')),
                ('ended_at', models.DateTimeField(blank=True, editable=False, help_text='When its last entries were settled after it closed.', null=True, verbose_name='ended at')),
                ('version', models.PositiveBigIntegerField(default=0, editable=False, verbose_name='version')),
                ('created_at', models.DateTimeField(auto_now_add=True, verbose_name='created at')),
            ],
            options={
                'verbose_name': 'sale',
                'verbose_name_plural': 'sales',
                'indexes': [models.Index(fields=['ended_at', 'opens_at'], name='sales_sale_unended'), models.Index(fields=['paused_at'], name='sales_sale_paused')],
                'constraints': [models.CheckConstraint(condition=models.Q(('closes_at__gt', models.F('opens_at'))), name='sales_sale_closes_after_opening', violation_error_message='The sale must close after it opens.'), models.CheckConstraint(condition=models.Q(('rate_per_minute__gte', 1)), name='sales_sale_rate_positive'), models.CheckConstraint(condition=models.Q(('admitted_for_seconds__gte', 1)), name='sales_sale_admitted_for_positive'), models.CheckConstraint(condition=models.Q(('passed_position__lte', models.F('last_position'))), name='sales_sale_passed_within_last'), models.CheckConstraint(condition=models.Q(models.Q(('drawn_at__isnull', True), ('entries_hash', ''), ('is_ordered', False), ('last_position', 0)), models.Q(('drawn_at__isnull', False), models.Q(('entries_hash', ''), _negated=True)), _connector='OR'), name='sales_sale_positions_after_the_draw')],
            },
        ),
        migrations.CreateModel(
            name='SaleEntry',
            fields=[
                ('id', models.UUIDField(default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False)),
                ('status', models.CharField(choices=[('waiting', 'waiting'), ('admitted', 'admitted'), ('used', 'used'), ('expired', 'expired'), ('over', 'over')], default='waiting', max_length=8, verbose_name='status')),
                ('position', models.PositiveBigIntegerField(blank=True, null=True, verbose_name='position')),
                ('is_current', models.BooleanField(default=True, null=True, verbose_name='is current')),
                ('created_at', models.DateTimeField(verbose_name='created at')),
                ('admitted_at', models.DateTimeField(blank=True, null=True, verbose_name='admitted at')),
                ('admitted_until', models.DateTimeField(blank=True, null=True, verbose_name='admitted until')),
                ('rate_per_minute', models.PositiveIntegerField(blank=True, null=True, verbose_name='rate per minute')),
                ('account', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='account')),
                ('order', models.ForeignKey(blank=True, db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='orders.order', verbose_name='order')),
                ('sale', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='entries', to='sales.sale', verbose_name='sale')),
            ],
            options={
                'verbose_name': 'sale entry',
                'verbose_name_plural': 'sale entries',
                'indexes': [models.Index(fields=['sale', 'status', 'position'], name='sales_saleentry_queue'), models.Index(fields=['sale', 'admitted_at'], name='sales_saleentry_admissions')],
                'constraints': [models.UniqueConstraint(fields=('sale', 'account', 'is_current'), name='sales_saleentry_one_current_per_account'), models.UniqueConstraint(fields=('sale', 'position'), name='sales_saleentry_position_once'), models.UniqueConstraint(fields=('order', 'sale'), name='sales_saleentry_one_per_order_and_sale'), models.CheckConstraint(condition=models.Q(models.Q(('admitted_at__isnull', False), ('status__in', ['admitted', 'used', 'expired'])), ('status__in', ['waiting', 'over']), _connector='OR'), name='sales_saleentry_only_admitted_ones_are_used_or_expire'), models.CheckConstraint(condition=models.Q(models.Q(('admitted_at__isnull', True), ('admitted_until__isnull', True), ('rate_per_minute__isnull', True)), models.Q(('admitted_at__isnull', False), ('admitted_until__isnull', False), ('position__isnull', False), ('rate_per_minute__isnull', False)), _connector='OR'), name='sales_saleentry_admission_is_whole'), models.CheckConstraint(condition=models.Q(models.Q(('order__isnull', False), ('status', 'used')), models.Q(models.Q(('status', 'used'), _negated=True), ('order__isnull', True)), _connector='OR'), name='sales_saleentry_used_by_an_order')],
            },
        ),
        migrations.CreateModel(
            name='SaleProduct',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('product', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='sale_products', to='inventory.product', verbose_name='product')),
                ('sale', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='sale_products', to='sales.sale', verbose_name='sale')),
            ],
            options={
                'verbose_name': 'product of a sale',
                'verbose_name_plural': 'products of sales',
                'constraints': [models.UniqueConstraint(fields=('sale', 'product'), name='sales_saleproduct_once_per_sale')],
            },
        ),
    ]
