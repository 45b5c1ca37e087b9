import django.db.models.deletion
import shop.fields
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('inventory', '0007_product_paused_at'),
        ('orders', '0006_find_by_period'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AlterModelOptions(
            name='order',
            options={'verbose_name': 'order', 'verbose_name_plural': 'orders'},
        ),
        migrations.AlterModelOptions(
            name='orderline',
            options={'verbose_name': 'order line', 'verbose_name_plural': 'order lines'},
        ),
        migrations.AlterModelOptions(
            name='refund',
            options={'verbose_name': 'refund', 'verbose_name_plural': 'refunds'},
        ),
        migrations.AlterModelOptions(
            name='refundline',
            options={'verbose_name': 'refund line', 'verbose_name_plural': 'refund lines'},
        ),
        migrations.AlterModelOptions(
            name='saga',
            options={'verbose_name': 'saga', 'verbose_name_plural': 'sagas'},
        ),
        migrations.AlterModelOptions(
            name='sagalog',
            options={'verbose_name': 'saga log', 'verbose_name_plural': 'saga logs'},
        ),
        migrations.AlterField(
            model_name='order',
            name='account',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='orders', to=settings.AUTH_USER_MODEL, verbose_name='account'),
        ),
        migrations.AlterField(
            model_name='order',
            name='card_amount',
            field=models.PositiveBigIntegerField(verbose_name='card amount'),
        ),
        migrations.AlterField(
            model_name='order',
            name='coupon_code',
            field=shop.fields.ExactCharField(blank=True, max_length=64, verbose_name='coupon code'),
        ),
        migrations.AlterField(
            model_name='order',
            name='currency',
            field=models.CharField(max_length=3, verbose_name='currency'),
        ),
        migrations.AlterField(
            model_name='order',
            name='discount_amount',
            field=models.PositiveBigIntegerField(default=0, verbose_name='discount amount'),
        ),
        migrations.AlterField(
            model_name='order',
            name='ended_at',
            field=models.DateTimeField(blank=True, help_text='When it was cancelled, expired or failed.', null=True, verbose_name='ended at'),
        ),
        migrations.AlterField(
            model_name='order',
            name='expires_at',
            field=models.DateTimeField(verbose_name='expires at'),
        ),
        migrations.AlterField(
            model_name='order',
            name='failure_code',
            field=models.CharField(blank=True, max_length=64, verbose_name='failure code'),
        ),
        migrations.AlterField(
            model_name='order',
            name='failure_detail',
            field=models.CharField(blank=True, max_length=255, verbose_name='failure detail'),
        ),
        migrations.AlterField(
            model_name='order',
            name='items_amount',
            field=models.PositiveBigIntegerField(verbose_name='items amount'),
        ),
        migrations.AlterField(
            model_name='order',
            name='paid_at',
            field=models.DateTimeField(blank=True, null=True, verbose_name='paid at'),
        ),
        migrations.AlterField(
            model_name='order',
            name='placed_at',
            field=models.DateTimeField(verbose_name='placed at'),
        ),
        migrations.AlterField(
            model_name='order',
            name='points_amount',
            field=models.PositiveBigIntegerField(default=0, verbose_name='points amount'),
        ),
        migrations.AlterField(
            model_name='order',
            name='refunded_amount',
            field=models.PositiveBigIntegerField(default=0, verbose_name='refunded amount'),
        ),
        migrations.AlterField(
            model_name='order',
            name='status',
            field=models.CharField(choices=[('awaiting_payment', 'awaiting payment'), ('paying', 'paying'), ('paid', 'paid'), ('refunding', 'refunding'), ('refunded', 'refunded'), ('payment_failed', 'payment failed'), ('cancelled', 'cancelled'), ('expired', 'expired')], default='awaiting_payment', max_length=20, verbose_name='status'),
        ),
        migrations.AlterField(
            model_name='order',
            name='total_amount',
            field=models.PositiveBigIntegerField(verbose_name='total amount'),
        ),
        migrations.AlterField(
            model_name='order',
            name='units',
            field=models.IntegerField(blank=True, help_text='Of all its lines together.', null=True, verbose_name='units'),
        ),
        migrations.AlterField(
            model_name='orderline',
            name='discount_amount',
            field=models.PositiveBigIntegerField(default=0, verbose_name='discount amount'),
        ),
        migrations.AlterField(
            model_name='orderline',
            name='limit_per_account',
            field=models.IntegerField(blank=True, help_text="The product's limit when the order was placed; empty: none.", null=True, verbose_name='limit per account'),
        ),
        migrations.AlterField(
            model_name='orderline',
            name='line_amount',
            field=models.PositiveBigIntegerField(verbose_name='line amount'),
        ),
        migrations.AlterField(
            model_name='orderline',
            name='name',
            field=models.CharField(max_length=255, verbose_name='name'),
        ),
        migrations.AlterField(
            model_name='orderline',
            name='order',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='lines', to='orders.order', verbose_name='order'),
        ),
        migrations.AlterField(
            model_name='orderline',
            name='product',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='order_lines', to='inventory.product', verbose_name='product'),
        ),
        migrations.AlterField(
            model_name='orderline',
            name='quantity',
            field=models.PositiveIntegerField(verbose_name='quantity'),
        ),
        migrations.AlterField(
            model_name='orderline',
            name='refunded_quantity',
            field=models.PositiveIntegerField(default=0, help_text='Units of the quantity that are refunded, or about to be.', verbose_name='refunded quantity'),
        ),
        migrations.AlterField(
            model_name='orderline',
            name='sku',
            field=shop.fields.ExactCharField(max_length=64, verbose_name='sku'),
        ),
        migrations.AlterField(
            model_name='orderline',
            name='unit_price',
            field=models.PositiveBigIntegerField(verbose_name='unit price'),
        ),
        migrations.AlterField(
            model_name='refund',
            name='amount',
            field=models.PositiveBigIntegerField(verbose_name='amount'),
        ),
        migrations.AlterField(
            model_name='refund',
            name='card_amount',
            field=models.PositiveBigIntegerField(verbose_name='card amount'),
        ),
        migrations.AlterField(
            model_name='refund',
            name='created_at',
            field=models.DateTimeField(verbose_name='created at'),
        ),
        migrations.AlterField(
            model_name='refund',
            name='order',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='refunds', to='orders.order', verbose_name='order'),
        ),
        migrations.AlterField(
            model_name='refund',
            name='points_amount',
            field=models.PositiveBigIntegerField(verbose_name='points amount'),
        ),
        migrations.AlterField(
            model_name='refund',
            name='reason',
            field=models.CharField(max_length=255, verbose_name='reason'),
        ),
        migrations.AlterField(
            model_name='refund',
            name='restock',
            field=models.BooleanField(default=True, help_text='Whether the goods are put back in stock.', verbose_name='restock'),
        ),
        migrations.AlterField(
            model_name='refund',
            name='settled_at',
            field=models.DateTimeField(blank=True, null=True, verbose_name='settled at'),
        ),
        migrations.AlterField(
            model_name='refund',
            name='status',
            field=models.CharField(choices=[('pending', 'pending'), ('succeeded', 'succeeded'), ('stuck', 'stuck')], default='pending', max_length=16, verbose_name='status'),
        ),
        migrations.AlterField(
            model_name='refundline',
            name='amount',
            field=models.PositiveBigIntegerField(verbose_name='amount'),
        ),
        migrations.AlterField(
            model_name='refundline',
            name='line',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='refunds', to='orders.orderline', verbose_name='line'),
        ),
        migrations.AlterField(
            model_name='refundline',
            name='quantity',
            field=models.PositiveIntegerField(verbose_name='quantity'),
        ),
        migrations.AlterField(
            model_name='refundline',
            name='refund',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='lines', to='orders.refund', verbose_name='refund'),
        ),
        migrations.AlterField(
            model_name='saga',
            name='about_id',
            field=models.UUIDField(blank=True, help_text='The order whose journal it writes.', null=True, verbose_name='about id'),
        ),
        migrations.AlterField(
            model_name='saga',
            name='attempts',
            field=models.PositiveIntegerField(default=0, help_text='Failed attempts, over all steps.', verbose_name='attempts'),
        ),
        migrations.AlterField(
            model_name='saga',
            name='created_at',
            field=models.DateTimeField(verbose_name='created at'),
        ),
        migrations.AlterField(
            model_name='saga',
            name='deadline_at',
            field=models.DateTimeField(verbose_name='deadline at'),
        ),
        migrations.AlterField(
            model_name='saga',
            name='direction',
            field=models.CharField(choices=[('do', 'do'), ('undo', 'undo')], default='do', max_length=8, verbose_name='direction'),
        ),
        migrations.AlterField(
            model_name='saga',
            name='ended_at',
            field=models.DateTimeField(blank=True, null=True, verbose_name='ended at'),
        ),
        migrations.AlterField(
            model_name='saga',
            name='failure_code',
            field=models.CharField(blank=True, help_text='Why it is compensated.', max_length=64, verbose_name='failure code'),
        ),
        migrations.AlterField(
            model_name='saga',
            name='failure_detail',
            field=models.CharField(blank=True, max_length=255, verbose_name='failure detail'),
        ),
        migrations.AlterField(
            model_name='saga',
            name='kind',
            field=models.CharField(max_length=32, verbose_name='kind'),
        ),
        migrations.AlterField(
            model_name='saga',
            name='last_error',
            field=models.CharField(blank=True, max_length=255, verbose_name='last error'),
        ),
        migrations.AlterField(
            model_name='saga',
            name='lease_token',
            field=models.CharField(blank=True, max_length=32, verbose_name='lease token'),
        ),
        migrations.AlterField(
            model_name='saga',
            name='leased_until',
            field=models.DateTimeField(blank=True, null=True, verbose_name='leased until'),
        ),
        migrations.AlterField(
            model_name='saga',
            name='next_attempt_at',
            field=models.DateTimeField(blank=True, null=True, verbose_name='next attempt at'),
        ),
        migrations.AlterField(
            model_name='saga',
            name='open_call',
            field=models.CharField(blank=True, db_default='', default='', help_text='The outside call that was started and whose result is not recorded.', max_length=40, verbose_name='open call'),
        ),
        migrations.AlterField(
            model_name='saga',
            name='request_id',
            field=models.CharField(blank=True, help_text='The request that started it.', max_length=64, verbose_name='request id'),
        ),
        migrations.AlterField(
            model_name='saga',
            name='state',
            field=models.CharField(choices=[('running', 'running'), ('stuck', 'stuck'), ('done', 'done'), ('compensated', 'compensated')], default='running', max_length=16, verbose_name='state'),
        ),
        migrations.AlterField(
            model_name='saga',
            name='subject_id',
            field=models.UUIDField(help_text='The payment or refund that the saga is for.', verbose_name='subject id'),
        ),
        migrations.AlterField(
            model_name='sagalog',
            name='at',
            field=models.DateTimeField(verbose_name='at'),
        ),
        migrations.AlterField(
            model_name='sagalog',
            name='attempt',
            field=models.PositiveIntegerField(default=0, verbose_name='attempt'),
        ),
        migrations.AlterField(
            model_name='sagalog',
            name='detail',
            field=models.CharField(blank=True, max_length=255, verbose_name='detail'),
        ),
        migrations.AlterField(
            model_name='sagalog',
            name='direction',
            field=models.CharField(choices=[('do', 'do'), ('undo', 'undo')], max_length=8, verbose_name='direction'),
        ),
        migrations.AlterField(
            model_name='sagalog',
            name='event',
            field=models.CharField(choices=[('done', 'done'), ('skipped', 'nothing to do'), ('refused', 'refused for good'), ('void', 'compensated before it was done'), ('failed', 'failed attempt'), ('pending', 'the other system is working on it'), ('forced', 'confirmed by an operator')], max_length=16, verbose_name='event'),
        ),
        migrations.AlterField(
            model_name='sagalog',
            name='reference',
            field=models.CharField(blank=True, help_text="The other system's id of it.", max_length=96, verbose_name='reference'),
        ),
        migrations.AlterField(
            model_name='sagalog',
            name='saga',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='log', to='orders.saga', verbose_name='saga'),
        ),
        migrations.AlterField(
            model_name='sagalog',
            name='step',
            field=models.CharField(max_length=32, verbose_name='step'),
        ),
    ]
