import django.db.models.deletion
import shop.fields
from django.conf import settings
from django.db import migrations, models

BLOCKS_WRITERS_BECAUSE = (
    "coupons_campaign has a row for each campaign; copying 10,000 of them takes a fraction of a second."
)


class Migration(migrations.Migration):

    dependencies = [
        ('coupons', '0004_names_of_models_and_fields'),
        ('orders', '0007_names_of_models_and_fields'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='ArchivedCoupon',
            fields=[
                ('id', models.PositiveBigIntegerField(primary_key=True, serialize=False)),
                ('code', shop.fields.ExactCharField(max_length=64, verbose_name='code')),
                ('position', models.PositiveBigIntegerField(verbose_name='position')),
                ('status', models.CharField(choices=[('issued', 'issued'), ('held', 'held'), ('redeemed', 'redeemed'), ('void', 'void')], max_length=16, verbose_name='status')),
                ('issued_at', models.DateTimeField(verbose_name='issued at')),
                ('expires_at', models.DateTimeField(verbose_name='expires at')),
                ('void_reason', models.CharField(blank=True, max_length=255, verbose_name='void reason')),
            ],
            options={
                'verbose_name': 'archived coupon',
                'verbose_name_plural': 'archived coupons',
                'default_permissions': (),
            },
        ),
        migrations.AddField(
            model_name='campaign',
            name='archived_at',
            field=models.DateTimeField(blank=True, editable=False, null=True, verbose_name='archived at'),
        ),
        migrations.AddConstraint(
            model_name='campaign',
            constraint=models.CheckConstraint(condition=models.Q(('archived_at__isnull', True), models.Q(('closes_at__isnull', False), ('closes_at__lte', models.F('archived_at'))), _connector='OR'), name='coupons_campaign_archived_only_once_closed', violation_error_message="The campaign's coupons are archived, so it can't open again."),
        ),
        migrations.AddField(
            model_name='archivedcoupon',
            name='account',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='account'),
        ),
        migrations.AddField(
            model_name='archivedcoupon',
            name='campaign',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='archived_coupons', to='coupons.campaign', verbose_name='campaign'),
        ),
        migrations.AddField(
            model_name='archivedcoupon',
            name='order',
            field=models.ForeignKey(blank=True, db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='orders.order', verbose_name='order'),
        ),
        migrations.AddConstraint(
            model_name='archivedcoupon',
            constraint=models.UniqueConstraint(fields=('code',), name='coupons_archivedcoupon_code_is_unique'),
        ),
        migrations.AddConstraint(
            model_name='archivedcoupon',
            constraint=models.UniqueConstraint(fields=('account', 'campaign'), name='coupons_archivedcoupon_one_per_account_and_campaign'),
        ),
        migrations.AddConstraint(
            model_name='archivedcoupon',
            constraint=models.UniqueConstraint(fields=('campaign', 'position'), name='coupons_archivedcoupon_one_per_position_of_campaign'),
        ),
        migrations.AddConstraint(
            model_name='archivedcoupon',
            constraint=models.UniqueConstraint(fields=('order',), name='coupons_archivedcoupon_one_per_order'),
        ),
        migrations.AddConstraint(
            model_name='archivedcoupon',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('order__isnull', False), ('status', 'redeemed')), models.Q(('order__isnull', True), ('status__in', ['issued', 'void'])), _connector='OR'), name='coupons_archivedcoupon_is_held_by_no_order'),
        ),
    ]
