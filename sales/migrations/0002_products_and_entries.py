"""The products of sales, and the entries of accounts in their waiting rooms."""

import django.db.models.deletion
import uuid_utils.compat
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('inventory', '0001_initial'),
        ('orders', '0001_initial'),
        ('sales', '0001_initial'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='SaleProduct',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False,
                    verbose_name='ID')),
                ('sale', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT,
                    related_name='sale_products', to='sales.sale', verbose_name='sale')),
                ('product', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT,
                    related_name='sale_products', to='inventory.product', verbose_name='product')),
            ],
            options={
                'verbose_name': 'product of a sale',
                'verbose_name_plural': 'products of sales',
                'constraints': [
                    models.UniqueConstraint(fields=('sale', 'product'),
                        name='sales_saleproduct_once_per_sale'),
                ],
            },
        ),
        migrations.CreateModel(
            name='SaleEntry',
            fields=[
                ('id', models.UUIDField(default=uuid_utils.compat.uuid7, editable=False, primary_key=True,
                    serialize=False)),
                ('sale', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT,
                    related_name='entries', to='sales.sale', verbose_name='sale')),
                ('account', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+',
                    to=settings.AUTH_USER_MODEL, verbose_name='account')),
                ('status', models.CharField(choices=[('waiting', 'waiting'), ('admitted', 'admitted'),
                    ('used', 'used'), ('expired', 'expired'), ('over', 'over')], default='waiting',
                    max_length=8, verbose_name='status')),
                ('position', models.PositiveBigIntegerField(blank=True, null=True, verbose_name='position')),
                ('is_current', models.BooleanField(default=True, null=True, verbose_name='is current')),
                ('created_at', models.DateTimeField(verbose_name='created at')),
                ('admitted_at', models.DateTimeField(blank=True, null=True, verbose_name='admitted at')),
                ('admitted_until', models.DateTimeField(blank=True, null=True,
                    verbose_name='admitted until')),
                ('rate_per_minute', models.PositiveIntegerField(blank=True, null=True,
                    verbose_name='rate per minute')),
                ('order', models.ForeignKey(blank=True, db_index=False, null=True,
                    on_delete=django.db.models.deletion.PROTECT, related_name='+', to='orders.order',
                    verbose_name='order')),
            ],
            options={
                'verbose_name': 'sale entry',
                'verbose_name_plural': 'sale entries',
                'indexes': [
                    models.Index(fields=['sale', 'status', 'position'], name='sales_saleentry_queue'),
                    models.Index(fields=['sale', 'admitted_at'], name='sales_saleentry_admissions'),
                ],
                'constraints': [
                    models.UniqueConstraint(fields=('sale', 'account', 'is_current'),
                        name='sales_saleentry_one_current_per_account'),
                    models.UniqueConstraint(fields=('sale', 'position'),
                        name='sales_saleentry_position_once'),
                    models.UniqueConstraint(fields=('order', 'sale'),
                        name='sales_saleentry_one_per_order_and_sale'),
                    models.CheckConstraint(condition=models.Q(models.Q(('admitted_at__isnull', False),
                        ('status__in', ['admitted', 'used', 'expired'])), ('status__in', ['waiting',
                        'over']), _connector='OR'),
                        name='sales_saleentry_only_admitted_ones_are_used_or_expire'),
                    models.CheckConstraint(condition=models.Q(models.Q(('admitted_at__isnull', True),
                        ('admitted_until__isnull', True), ('rate_per_minute__isnull', True)),
                        models.Q(('admitted_at__isnull', False), ('admitted_until__isnull', False),
                        ('position__isnull', False), ('rate_per_minute__isnull', False)), _connector='OR'),
                        name='sales_saleentry_admission_is_whole'),
                    models.CheckConstraint(condition=models.Q(models.Q(('order__isnull', False), ('status',
                        'used')), models.Q(models.Q(('status', 'used'), _negated=True), ('order__isnull',
                        True)), _connector='OR'), name='sales_saleentry_used_by_an_order'),
                ],
            },
        ),
    ]
