"""What was sold, refunded and lost of products, by the day, and when an operator changed them."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('inventory', '0002_movements'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='ProductDay',
            fields=[
                ('pk', models.CompositePrimaryKey('day', 'product_id', blank=True, editable=False, primary_key=True, serialize=False)),
                ('day', models.DateField(verbose_name='day')),
                ('units_sold', models.BigIntegerField(db_default=0, default=0, verbose_name='units sold')),
                ('sold_amount', models.BigIntegerField(db_default=0, default=0, verbose_name='sold amount')),
                ('units_refunded', models.BigIntegerField(db_default=0, default=0, verbose_name='units refunded')),
                ('refunded_amount', models.BigIntegerField(db_default=0, default=0, verbose_name='refunded amount')),
                ('lost_units', models.BigIntegerField(db_default=0, default=0, verbose_name='lost units')),
                ('lost_amount', models.BigIntegerField(db_default=0, default=0, verbose_name='lost amount')),
                ('lost_sold_out', models.BigIntegerField(db_default=0, default=0, verbose_name='lost as sold out')),
                ('lost_over_limit', models.BigIntegerField(db_default=0, default=0, verbose_name='lost as over a limit')),
                ('lost_expired', models.BigIntegerField(db_default=0, default=0, verbose_name='lost as expired')),
                ('lost_declined', models.BigIntegerField(db_default=0, default=0, verbose_name='lost as declined')),
                ('lost_given_up', models.BigIntegerField(db_default=0, default=0, verbose_name='lost as given up')),
                ('product', models.ForeignKey(db_constraint=False, on_delete=django.db.models.deletion.PROTECT, related_name='days', to='inventory.product', verbose_name='product')),
            ],
            options={
                'verbose_name': "product's day",
                'verbose_name_plural': "products' days",
            },
        ),
        migrations.CreateModel(
            name='LostDemand',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('day', models.DateField(verbose_name='day')),
                ('reason', models.CharField(choices=[('sold_out', 'sold out'), ('over_limit', 'over a limit'), ('expired', 'expired'), ('declined', 'declined'), ('given_up', 'given up')], max_length=12, verbose_name='reason')),
                ('units', models.BigIntegerField(verbose_name='units')),
                ('amount', models.BigIntegerField(verbose_name='amount')),
                ('account', models.ForeignKey(db_constraint=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='account')),
                ('product', models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='inventory.product', verbose_name='product')),
            ],
            options={
                'verbose_name': 'lost demand',
                'verbose_name_plural': 'lost demand',
                'constraints': [models.UniqueConstraint(fields=('day', 'product', 'account'), name='inventory_lostdemand_once_an_account_and_day')],
            },
        ),
        migrations.AddField(
            "product",
            "updated_at",
            models.DateTimeField(
                blank=True,
                editable=False,
                help_text="When an operator changed it last; empty: never.",
                null=True,
                verbose_name="updated at",
            ),
        ),
    ]
