import django.core.validators
import django.db.models.deletion
import shop.fields
import uuid_utils.compat
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('coupons', '0003_campaign_paused_at'),
        ('orders', '0006_find_by_period'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AlterModelOptions(
            name='campaign',
            options={'verbose_name': 'campaign', 'verbose_name_plural': 'campaigns'},
        ),
        migrations.AlterModelOptions(
            name='confirmation',
            options={'verbose_name': 'confirmation', 'verbose_name_plural': 'confirmations'},
        ),
        migrations.AlterModelOptions(
            name='coupon',
            options={'verbose_name': 'coupon', 'verbose_name_plural': 'coupons'},
        ),
        migrations.AlterModelOptions(
            name='poolcode',
            options={'verbose_name': 'pool code', 'verbose_name_plural': 'pool codes'},
        ),
        migrations.AlterModelOptions(
            name='queueticket',
            options={'verbose_name': 'queue ticket', 'verbose_name_plural': 'queue tickets'},
        ),
        migrations.AlterField(
            model_name='campaign',
            name='closes_at',
            field=models.DateTimeField(blank=True, null=True, verbose_name='closes at'),
        ),
        migrations.AlterField(
            model_name='campaign',
            name='code_source',
            field=models.CharField(choices=[('generated', 'generated'), ('pool', 'pool')], default='generated', max_length=16, verbose_name='code source'),
        ),
        migrations.AlterField(
            model_name='campaign',
            name='codes_added',
            field=models.PositiveBigIntegerField(default=0, editable=False, verbose_name='codes added'),
        ),
        migrations.AlterField(
            model_name='campaign',
            name='confirming',
            field=models.PositiveBigIntegerField(default=0, editable=False, verbose_name='confirming'),
        ),
        migrations.AlterField(
            model_name='campaign',
            name='coupon_valid_for_days',
            field=models.PositiveIntegerField(default=30, validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(36500)], verbose_name='coupon valid for days'),
        ),
        migrations.AlterField(
            model_name='campaign',
            name='created_at',
            field=models.DateTimeField(auto_now_add=True, verbose_name='created at'),
        ),
        migrations.AlterField(
            model_name='campaign',
            name='discount_type',
            field=models.CharField(choices=[('amount', 'amount'), ('percent', 'percent')], max_length=16, verbose_name='discount type'),
        ),
        migrations.AlterField(
            model_name='campaign',
            name='discount_value',
            field=models.PositiveBigIntegerField(verbose_name='discount value'),
        ),
        migrations.AlterField(
            model_name='campaign',
            name='issued',
            field=models.PositiveBigIntegerField(default=0, editable=False, verbose_name='issued'),
        ),
        migrations.AlterField(
            model_name='campaign',
            name='max_discount_amount',
            field=models.PositiveBigIntegerField(blank=True, null=True, verbose_name='max discount amount'),
        ),
        migrations.AlterField(
            model_name='campaign',
            name='min_order_amount',
            field=models.PositiveBigIntegerField(default=0, verbose_name='min order amount'),
        ),
        migrations.AlterField(
            model_name='campaign',
            name='name',
            field=models.CharField(max_length=255, verbose_name='name'),
        ),
        migrations.AlterField(
            model_name='campaign',
            name='opens_at',
            field=models.DateTimeField(verbose_name='opens at'),
        ),
        migrations.AlterField(
            model_name='campaign',
            name='partner',
            field=models.CharField(blank=True, max_length=64, verbose_name='partner'),
        ),
        migrations.AlterField(
            model_name='campaign',
            name='paused_at',
            field=models.DateTimeField(blank=True, editable=False, null=True, verbose_name='paused at'),
        ),
        migrations.AlterField(
            model_name='campaign',
            name='quantity',
            field=models.PositiveBigIntegerField(validators=[django.core.validators.MinValueValidator(1)], verbose_name='quantity'),
        ),
        migrations.AlterField(
            model_name='campaign',
            name='strategy',
            field=models.CharField(default='group_commit', max_length=32, verbose_name='strategy'),
        ),
        migrations.AlterField(
            model_name='campaign',
            name='version',
            field=models.PositiveBigIntegerField(default=0, editable=False, verbose_name='version'),
        ),
        migrations.AlterField(
            model_name='confirmation',
            name='account',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='account'),
        ),
        migrations.AlterField(
            model_name='confirmation',
            name='attempts',
            field=models.PositiveIntegerField(default=0, verbose_name='attempts'),
        ),
        migrations.AlterField(
            model_name='confirmation',
            name='campaign',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='confirmations', to='coupons.campaign', verbose_name='campaign'),
        ),
        migrations.AlterField(
            model_name='confirmation',
            name='code',
            field=shop.fields.ExactCharField(max_length=64, verbose_name='code'),
        ),
        migrations.AlterField(
            model_name='confirmation',
            name='is_cancelled',
            field=models.BooleanField(default=False, verbose_name='is cancelled'),
        ),
        migrations.AlterField(
            model_name='confirmation',
            name='key',
            field=models.UUIDField(default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False, verbose_name='key'),
        ),
        migrations.AlterField(
            model_name='confirmation',
            name='next_attempt_at',
            field=models.DateTimeField(db_index=True, verbose_name='next attempt at'),
        ),
        migrations.AlterField(
            model_name='confirmation',
            name='taken_at',
            field=models.DateTimeField(verbose_name='taken at'),
        ),
        migrations.AlterField(
            model_name='coupon',
            name='account',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='coupons', to=settings.AUTH_USER_MODEL, verbose_name='account'),
        ),
        migrations.AlterField(
            model_name='coupon',
            name='campaign',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='coupons', to='coupons.campaign', verbose_name='campaign'),
        ),
        migrations.AlterField(
            model_name='coupon',
            name='code',
            field=shop.fields.ExactCharField(max_length=64, verbose_name='code'),
        ),
        migrations.AlterField(
            model_name='coupon',
            name='expires_at',
            field=models.DateTimeField(verbose_name='expires at'),
        ),
        migrations.AlterField(
            model_name='coupon',
            name='issued_at',
            field=models.DateTimeField(verbose_name='issued at'),
        ),
        migrations.AlterField(
            model_name='coupon',
            name='order',
            field=models.ForeignKey(blank=True, db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='coupons', to='orders.order', verbose_name='order'),
        ),
        migrations.AlterField(
            model_name='coupon',
            name='position',
            field=models.PositiveBigIntegerField(blank=True, null=True, verbose_name='position'),
        ),
        migrations.AlterField(
            model_name='coupon',
            name='status',
            field=models.CharField(choices=[('issued', 'issued'), ('held', 'held'), ('redeemed', 'redeemed'), ('void', 'void')], default='issued', max_length=16, verbose_name='status'),
        ),
        migrations.AlterField(
            model_name='coupon',
            name='void_reason',
            field=models.CharField(blank=True, max_length=255, verbose_name='void reason'),
        ),
        migrations.AlterField(
            model_name='poolcode',
            name='added_at',
            field=models.DateTimeField(verbose_name='added at'),
        ),
        migrations.AlterField(
            model_name='poolcode',
            name='campaign',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='pool', to='coupons.campaign', verbose_name='campaign'),
        ),
        migrations.AlterField(
            model_name='poolcode',
            name='code',
            field=shop.fields.ExactCharField(max_length=64, verbose_name='code'),
        ),
        migrations.AlterField(
            model_name='poolcode',
            name='coupon',
            field=models.OneToOneField(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='pool_code', to='coupons.coupon', verbose_name='coupon'),
        ),
        migrations.AlterField(
            model_name='poolcode',
            name='status',
            field=models.CharField(choices=[('available', 'available'), ('in_flight', 'in flight'), ('issued', 'issued'), ('void', 'void')], default='available', max_length=16, verbose_name='status'),
        ),
        migrations.AlterField(
            model_name='queueticket',
            name='account',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='account'),
        ),
        migrations.AlterField(
            model_name='queueticket',
            name='campaign',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='tickets', to='coupons.campaign', verbose_name='campaign'),
        ),
        migrations.AlterField(
            model_name='queueticket',
            name='coupon',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='tickets', to='coupons.coupon', verbose_name='coupon'),
        ),
        migrations.AlterField(
            model_name='queueticket',
            name='created_at',
            field=models.DateTimeField(verbose_name='created at'),
        ),
        migrations.AlterField(
            model_name='queueticket',
            name='number',
            field=models.PositiveBigIntegerField(verbose_name='number'),
        ),
        migrations.AlterField(
            model_name='queueticket',
            name='status',
            field=models.CharField(choices=[('waiting', 'waiting'), ('issued', 'issued'), ('sold_out', 'sold out'), ('failed', 'failed')], default='waiting', max_length=16, verbose_name='status'),
        ),
    ]
