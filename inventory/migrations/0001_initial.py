"""Products, deliveries, and the sums of archived movements."""

import django.db.models.deletion
import foundation.fields
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('sales', '0001_initial'),
    ]

    operations = [
        migrations.CreateModel(
            name='Product',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False,
                    verbose_name='ID')),
                ('sku', foundation.fields.ExactCharField(max_length=64, verbose_name='sku')),
                ('name', models.CharField(max_length=255, verbose_name='name')),
                ('price', models.BigIntegerField(help_text="In the currency's minor unit.",
                    verbose_name='price')),
                ('on_hand', models.BigIntegerField(default=0, verbose_name='on hand')),
                ('reserved', models.BigIntegerField(default=0, verbose_name='reserved')),
                ('is_active', models.BooleanField(default=True, verbose_name='is active')),
                ('paused_at', models.DateTimeField(blank=True, editable=False,
                    help_text="Since when it can't be ordered; empty: it can.", null=True,
                    verbose_name='paused at')),
                ('sale', models.ForeignKey(blank=True, db_constraint=False, db_index=False, editable=False,
                    help_text='Whose terms hold for its orders; empty: none.', null=True,
                    on_delete=django.db.models.deletion.PROTECT, related_name='+', to='sales.sale',
                    verbose_name='sale')),
                ('low_stock_threshold', models.PositiveIntegerField(blank=True,
                    help_text='The event `stock.low` is sent when no more than this is available; empty: never.',
                    null=True, verbose_name='low stock threshold')),
                ('limit_per_account', models.PositiveIntegerField(blank=True,
                    help_text='The most units that one account may have in open and paid orders; empty: no limit.',
                    null=True, verbose_name='limit per account')),
                ('version', models.PositiveBigIntegerField(default=0,
                    help_text='Counts changes of the stock.', verbose_name='version')),
                ('created_at', models.DateTimeField(auto_now_add=True, verbose_name='created at')),
            ],
            options={
                'verbose_name': 'product',
                'verbose_name_plural': 'products',
                'indexes': [
                    models.Index(fields=['low_stock_threshold'], name='inventory_product_by_threshold'),
                    models.Index(fields=['paused_at'], name='inventory_product_paused'),
                ],
                'constraints': [
                    models.UniqueConstraint(fields=('sku',), name='inventory_product_sku_is_unique'),
                    models.CheckConstraint(condition=models.Q(('price__gte', 0)),
                        name='inventory_product_price_not_negative'),
                    models.CheckConstraint(condition=models.Q(('limit_per_account__isnull', True),
                        ('limit_per_account__gte', 1), _connector='OR'),
                        name='inventory_product_limit_per_account_positive'),
                    models.CheckConstraint(condition=models.Q(('reserved__gte', 0), ('reserved__lte',
                        models.F('on_hand'))), name='inventory_product_reserved_within_on_hand'),
                ],
            },
        ),
        migrations.CreateModel(
            name='Delivery',
            fields=[
                ('id', models.UUIDField(primary_key=True, serialize=False, verbose_name='id')),
                ('fingerprint',
                    foundation.fields.ExactCharField(help_text='Hash of its rows: the id is valid for these only.',
                    max_length=64, verbose_name='fingerprint')),
                ('reason', models.CharField(blank=True, max_length=255, verbose_name='reason')),
                ('rows_total', models.PositiveIntegerField(verbose_name='rows total')),
                ('rows_done', models.PositiveIntegerField(default=0, verbose_name='rows done')),
                ('created', models.PositiveIntegerField(default=0, help_text='Products that were new.',
                    verbose_name='created')),
                ('changed', models.PositiveIntegerField(default=0,
                    help_text='Products whose name or price changed.', verbose_name='changed')),
                ('received', models.PositiveBigIntegerField(default=0, help_text='Units received.',
                    verbose_name='received')),
                ('archived', models.PositiveBigIntegerField(default=0, editable=False,
                    help_text='Of the units received, those whose movements are archived.',
                    verbose_name='archived')),
                ('started_at', models.DateTimeField(auto_now_add=True, verbose_name='started at')),
                ('finished_at', models.DateTimeField(blank=True, null=True, verbose_name='finished at')),
            ],
            options={
                'verbose_name': 'delivery',
                'verbose_name_plural': 'deliveries',
                'constraints': [
                    models.CheckConstraint(condition=models.Q(models.Q(('finished_at__isnull', True),
                        ('rows_done__lt', models.F('rows_total'))), models.Q(('finished_at__isnull', False),
                        ('rows_done', models.F('rows_total'))), _connector='OR'),
                        name='inventory_delivery_finished_when_all_rows_are_done'),
                ],
            },
        ),
        migrations.CreateModel(
            name='CarriedStock',
            fields=[
                ('product', models.OneToOneField(db_constraint=False,
                    on_delete=django.db.models.deletion.PROTECT, primary_key=True, related_name='carried',
                    serialize=False, to='inventory.product', verbose_name='product')),
                ('delta', models.BigIntegerField(default=0, verbose_name='delta')),
            ],
            options={
                'verbose_name': 'carried stock',
                'verbose_name_plural': 'carried stock',
            },
        ),
    ]
