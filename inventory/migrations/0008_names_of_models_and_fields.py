import django.db.models.deletion
import shop.fields
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('inventory', '0007_product_paused_at'),
        ('orders', '0006_find_by_period'),
    ]

    operations = [
        migrations.AlterModelOptions(
            name='delivery',
            options={'verbose_name': 'delivery', 'verbose_name_plural': 'deliveries'},
        ),
        migrations.AlterModelOptions(
            name='product',
            options={'verbose_name': 'product', 'verbose_name_plural': 'products'},
        ),
        migrations.AlterModelOptions(
            name='stockmovement',
            options={'verbose_name': 'stock movement', 'verbose_name_plural': 'stock movements'},
        ),
        migrations.AlterField(
            model_name='delivery',
            name='changed',
            field=models.PositiveIntegerField(default=0, help_text='Products whose name or price changed.', verbose_name='changed'),
        ),
        migrations.AlterField(
            model_name='delivery',
            name='created',
            field=models.PositiveIntegerField(default=0, help_text='Products that were new.', verbose_name='created'),
        ),
        migrations.AlterField(
            model_name='delivery',
            name='fingerprint',
            field=shop.fields.ExactCharField(help_text='Hash of its rows: the id is valid for these only.', max_length=64, verbose_name='fingerprint'),
        ),
        migrations.AlterField(
            model_name='delivery',
            name='finished_at',
            field=models.DateTimeField(blank=True, null=True, verbose_name='finished at'),
        ),
        migrations.AlterField(
            model_name='delivery',
            name='id',
            field=models.UUIDField(primary_key=True, serialize=False, verbose_name='id'),
        ),
        migrations.AlterField(
            model_name='delivery',
            name='reason',
            field=models.CharField(blank=True, max_length=255, verbose_name='reason'),
        ),
        migrations.AlterField(
            model_name='delivery',
            name='received',
            field=models.PositiveBigIntegerField(default=0, help_text='Units received.', verbose_name='received'),
        ),
        migrations.AlterField(
            model_name='delivery',
            name='rows_done',
            field=models.PositiveIntegerField(default=0, verbose_name='rows done'),
        ),
        migrations.AlterField(
            model_name='delivery',
            name='rows_total',
            field=models.PositiveIntegerField(verbose_name='rows total'),
        ),
        migrations.AlterField(
            model_name='delivery',
            name='started_at',
            field=models.DateTimeField(auto_now_add=True, verbose_name='started at'),
        ),
        migrations.AlterField(
            model_name='product',
            name='created_at',
            field=models.DateTimeField(auto_now_add=True, verbose_name='created at'),
        ),
        migrations.AlterField(
            model_name='product',
            name='is_active',
            field=models.BooleanField(default=True, verbose_name='is active'),
        ),
        migrations.AlterField(
            model_name='product',
            name='limit_per_account',
            field=models.PositiveIntegerField(blank=True, help_text='The most units that one account may have in open and paid orders; empty: no limit.', null=True, verbose_name='limit per account'),
        ),
        migrations.AlterField(
            model_name='product',
            name='low_stock_threshold',
            field=models.PositiveIntegerField(blank=True, help_text='The event `stock.low` is sent when no more than this is available; empty: never.', null=True, verbose_name='low stock threshold'),
        ),
        migrations.AlterField(
            model_name='product',
            name='name',
            field=models.CharField(max_length=255, verbose_name='name'),
        ),
        migrations.AlterField(
            model_name='product',
            name='on_hand',
            field=models.BigIntegerField(default=0, verbose_name='on hand'),
        ),
        migrations.AlterField(
            model_name='product',
            name='paused_at',
            field=models.DateTimeField(blank=True, editable=False, help_text="Since when it can't be ordered; empty: it can.", null=True, verbose_name='paused at'),
        ),
        migrations.AlterField(
            model_name='product',
            name='price',
            field=models.BigIntegerField(help_text="In the currency's minor unit.", verbose_name='price'),
        ),
        migrations.AlterField(
            model_name='product',
            name='reserved',
            field=models.BigIntegerField(default=0, verbose_name='reserved'),
        ),
        migrations.AlterField(
            model_name='product',
            name='sku',
            field=shop.fields.ExactCharField(max_length=64, verbose_name='sku'),
        ),
        migrations.AlterField(
            model_name='product',
            name='version',
            field=models.PositiveBigIntegerField(default=0, help_text='Counts changes of the stock.', verbose_name='version'),
        ),
        migrations.AlterField(
            model_name='stockmovement',
            name='at',
            field=models.DateTimeField(verbose_name='at'),
        ),
        migrations.AlterField(
            model_name='stockmovement',
            name='delivery',
            field=models.ForeignKey(blank=True, db_constraint=False, db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='movements', to='inventory.delivery', verbose_name='delivery'),
        ),
        migrations.AlterField(
            model_name='stockmovement',
            name='delta',
            field=models.BigIntegerField(verbose_name='delta'),
        ),
        migrations.AlterField(
            model_name='stockmovement',
            name='kind',
            field=models.CharField(choices=[('received', 'received'), ('adjusted', 'adjusted'), ('sold', 'sold'), ('returned', 'returned')], max_length=16, verbose_name='kind'),
        ),
        migrations.AlterField(
            model_name='stockmovement',
            name='on_hand_after',
            field=models.BigIntegerField(verbose_name='on hand after'),
        ),
        migrations.AlterField(
            model_name='stockmovement',
            name='order',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='stock_movements', to='orders.order', verbose_name='order'),
        ),
        migrations.AlterField(
            model_name='stockmovement',
            name='product',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='movements', to='inventory.product', verbose_name='product'),
        ),
        migrations.AlterField(
            model_name='stockmovement',
            name='reason',
            field=models.CharField(blank=True, max_length=255, verbose_name='reason'),
        ),
    ]
