"""Movements of stock, which name the order that they are for."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('inventory', '0001_initial'),
        ('orders', '0001_initial'),
    ]

    operations = [
        migrations.CreateModel(
            name='StockMovement',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False,
                    verbose_name='ID')),
                ('product', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT,
                    related_name='movements', to='inventory.product', verbose_name='product')),
                ('kind', models.CharField(choices=[('received', 'received'), ('adjusted', 'adjusted'),
                    ('sold', 'sold'), ('returned', 'returned')], max_length=16, verbose_name='kind')),
                ('delta', models.BigIntegerField(verbose_name='delta')),
                ('on_hand_after', models.BigIntegerField(verbose_name='on hand after')),
                ('order', models.ForeignKey(blank=True, null=True,
                    on_delete=django.db.models.deletion.PROTECT, related_name='stock_movements',
                    to='orders.order', verbose_name='order')),
                ('delivery', models.ForeignKey(blank=True, db_constraint=False, db_index=False, null=True,
                    on_delete=django.db.models.deletion.PROTECT, related_name='movements',
                    to='inventory.delivery', verbose_name='delivery')),
                ('reason', models.CharField(blank=True, max_length=255, verbose_name='reason')),
                ('at', models.DateTimeField(verbose_name='at')),
            ],
            options={
                'verbose_name': 'stock movement',
                'verbose_name_plural': 'stock movements',
                'constraints': [
                    models.CheckConstraint(condition=models.Q(('on_hand_after__gte', 0)),
                        name='inventory_stockmovement_on_hand_not_negative'),
                    models.CheckConstraint(condition=models.Q(('delta', 0), _negated=True),
                        name='inventory_stockmovement_moves_something'),
                ],
            },
        ),
    ]
