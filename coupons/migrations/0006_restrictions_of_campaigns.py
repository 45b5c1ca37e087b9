import django.db.models.deletion
import shop.fields
from django.conf import settings
from django.db import migrations, models

BLOCKS_WRITERS_BECAUSE = (
    "coupons_campaign has a row for each campaign; copying 10,000 of them takes a fraction of a second."
)


class Migration(migrations.Migration):

    dependencies = [
        ('coupons', '0005_archived_coupons'),
        ('inventory', '0011_carried_stock'),
        ('orders', '0007_names_of_models_and_fields'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='CampaignProduct',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
            ],
            options={
                'verbose_name': 'product of a campaign',
                'verbose_name_plural': 'products of campaigns',
                'default_permissions': (),
            },
        ),
        migrations.CreateModel(
            name='EligibleAccount',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('added_at', models.DateTimeField(auto_now_add=True, verbose_name='added at')),
            ],
            options={
                'verbose_name': 'eligible account',
                'verbose_name_plural': 'eligible accounts',
                'default_permissions': ('add',),
            },
        ),
        migrations.CreateModel(
            name='FirstOrderUse',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
            ],
            options={
                'verbose_name': 'first order with a coupon',
                'verbose_name_plural': 'first orders with a coupon',
                'default_permissions': (),
            },
        ),
        migrations.AddField(
            model_name='campaign',
            name='eligible',
            field=models.CharField(choices=[('all', 'all accounts'), ('listed', 'listed accounts')], db_default='all', default='all', max_length=16, verbose_name='eligible'),
        ),
        migrations.AddField(
            model_name='campaign',
            name='first_order_only',
            field=models.BooleanField(db_default=False, default=False, verbose_name='first order only'),
        ),
        migrations.AddField(
            model_name='campaign',
            name='is_limited_to_products',
            field=models.BooleanField(db_default=False, default=False, editable=False, verbose_name='is limited to products'),
        ),
        migrations.AddField(
            model_name='campaign',
            name='shared_code',
            field=shop.fields.ExactCharField(blank=True, max_length=64, null=True, verbose_name='shared code'),
        ),
        migrations.AlterField(
            model_name='campaign',
            name='code_source',
            field=models.CharField(choices=[('generated', 'generated'), ('pool', 'pool'), ('shared', 'shared')], default='generated', max_length=16, verbose_name='code source'),
        ),
        migrations.AddConstraint(
            model_name='campaign',
            constraint=models.UniqueConstraint(fields=('shared_code',), name='coupons_campaign_shared_code_is_unique', violation_error_message='Another campaign has this shared code.'),
        ),
        migrations.AddConstraint(
            model_name='campaign',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('code_source', 'shared'), _negated=True), ('shared_code__isnull', False), _connector='OR'), name='coupons_campaign_shared_one_has_its_code', violation_error_message='A campaign with a shared code needs that code.'),
        ),
        migrations.AddField(
            model_name='campaignproduct',
            name='campaign',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='discounted_products', to='coupons.campaign', verbose_name='campaign'),
        ),
        migrations.AddField(
            model_name='campaignproduct',
            name='product',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='inventory.product', verbose_name='product'),
        ),
        migrations.AddField(
            model_name='eligibleaccount',
            name='account',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='account'),
        ),
        migrations.AddField(
            model_name='eligibleaccount',
            name='campaign',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='eligible_accounts', to='coupons.campaign', verbose_name='campaign'),
        ),
        migrations.AddField(
            model_name='firstorderuse',
            name='account',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='account'),
        ),
        migrations.AddField(
            model_name='firstorderuse',
            name='order',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='orders.order', verbose_name='order'),
        ),
        migrations.AddConstraint(
            model_name='campaignproduct',
            constraint=models.UniqueConstraint(fields=('campaign', 'product'), name='coupons_campaignproduct_once_per_campaign'),
        ),
        migrations.AddConstraint(
            model_name='eligibleaccount',
            constraint=models.UniqueConstraint(fields=('campaign', 'account'), name='coupons_eligibleaccount_once_per_campaign'),
        ),
        migrations.AddConstraint(
            model_name='firstorderuse',
            constraint=models.UniqueConstraint(fields=('account',), name='coupons_firstorderuse_one_per_account'),
        ),
        migrations.AddConstraint(
            model_name='firstorderuse',
            constraint=models.UniqueConstraint(fields=('order',), name='coupons_firstorderuse_one_per_order'),
        ),
    ]
