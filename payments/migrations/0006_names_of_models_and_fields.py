import django.db.models.deletion
import shop.fields
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('orders', '0006_find_by_period'),
        ('payments', '0005_transfers_by_instant'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AlterModelOptions(
            name='entry',
            options={'verbose_name': 'entry', 'verbose_name_plural': 'entries'},
        ),
        migrations.AlterModelOptions(
            name='ledgeraccount',
            options={'verbose_name': 'ledger account', 'verbose_name_plural': 'ledger accounts'},
        ),
        migrations.AlterModelOptions(
            name='payment',
            options={'verbose_name': 'payment', 'verbose_name_plural': 'payments'},
        ),
        migrations.AlterModelOptions(
            name='reconciliation',
            options={'verbose_name': 'reconciliation', 'verbose_name_plural': 'reconciliations'},
        ),
        migrations.AlterModelOptions(
            name='transfer',
            options={'verbose_name': 'transfer', 'verbose_name_plural': 'transfers'},
        ),
        migrations.AlterModelOptions(
            name='webhookevent',
            options={'verbose_name': 'webhook event', 'verbose_name_plural': 'webhook events'},
        ),
        migrations.AlterField(
            model_name='entry',
            name='account',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='entries', to='payments.ledgeraccount', verbose_name='account'),
        ),
        migrations.AlterField(
            model_name='entry',
            name='amount',
            field=models.BigIntegerField(help_text='Signed: positive is credited.', verbose_name='amount'),
        ),
        migrations.AlterField(
            model_name='entry',
            name='balance_after_amount',
            field=models.BigIntegerField(blank=True, null=True, verbose_name='balance after amount'),
        ),
        migrations.AlterField(
            model_name='entry',
            name='transfer',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='entries', to='payments.transfer', verbose_name='transfer'),
        ),
        migrations.AlterField(
            model_name='ledgeraccount',
            name='balance_amount',
            field=models.BigIntegerField(default=0, verbose_name='balance amount'),
        ),
        migrations.AlterField(
            model_name='ledgeraccount',
            name='id',
            field=models.BigIntegerField(primary_key=True, serialize=False, verbose_name='id'),
        ),
        migrations.AlterField(
            model_name='ledgeraccount',
            name='kind',
            field=models.CharField(choices=[('wallet', 'wallet'), ('holding', 'holding'), ('sales', 'sales'), ('gateway_clearing', 'gateway clearing'), ('promotions', 'promotions')], max_length=24, verbose_name='kind'),
        ),
        migrations.AlterField(
            model_name='ledgeraccount',
            name='user',
            field=models.OneToOneField(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='wallet', to=settings.AUTH_USER_MODEL, verbose_name='user'),
        ),
        migrations.AlterField(
            model_name='payment',
            name='account',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='payments', to=settings.AUTH_USER_MODEL, verbose_name='account'),
        ),
        migrations.AlterField(
            model_name='payment',
            name='card_amount',
            field=models.PositiveBigIntegerField(default=0, verbose_name='card amount'),
        ),
        migrations.AlterField(
            model_name='payment',
            name='charge_key',
            field=shop.fields.ExactCharField(max_length=96, verbose_name='charge key'),
        ),
        migrations.AlterField(
            model_name='payment',
            name='charge_reference',
            field=models.CharField(blank=True, help_text="The gateway's id of the charge.", max_length=96, verbose_name='charge reference'),
        ),
        migrations.AlterField(
            model_name='payment',
            name='created_at',
            field=models.DateTimeField(verbose_name='created at'),
        ),
        migrations.AlterField(
            model_name='payment',
            name='currency',
            field=models.CharField(max_length=3, verbose_name='currency'),
        ),
        migrations.AlterField(
            model_name='payment',
            name='failure_code',
            field=models.CharField(blank=True, max_length=64, verbose_name='failure code'),
        ),
        migrations.AlterField(
            model_name='payment',
            name='failure_detail',
            field=models.CharField(blank=True, max_length=255, verbose_name='failure detail'),
        ),
        migrations.AlterField(
            model_name='payment',
            name='order',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='payments', to='orders.order', verbose_name='order'),
        ),
        migrations.AlterField(
            model_name='payment',
            name='points_amount',
            field=models.PositiveBigIntegerField(default=0, verbose_name='points amount'),
        ),
        migrations.AlterField(
            model_name='payment',
            name='refunded_amount',
            field=models.PositiveBigIntegerField(default=0, help_text="Of the card's amount: refunded.", verbose_name='refunded amount'),
        ),
        migrations.AlterField(
            model_name='payment',
            name='refunding_amount',
            field=models.PositiveBigIntegerField(default=0, help_text="Of the card's amount: the refund is under way.", verbose_name='refunding amount'),
        ),
        migrations.AlterField(
            model_name='payment',
            name='settled_at',
            field=models.DateTimeField(blank=True, null=True, verbose_name='settled at'),
        ),
        migrations.AlterField(
            model_name='payment',
            name='status',
            field=models.CharField(choices=[('pending', 'pending'), ('in_doubt', 'in doubt'), ('succeeded', 'succeeded'), ('failed', 'failed'), ('reversed', 'reversed')], default='pending', max_length=16, verbose_name='status'),
        ),
        migrations.AlterField(
            model_name='payment',
            name='token',
            field=models.CharField(blank=True, max_length=255, verbose_name='token'),
        ),
        migrations.AlterField(
            model_name='reconciliation',
            name='checked',
            field=models.PositiveBigIntegerField(verbose_name='checked'),
        ),
        migrations.AlterField(
            model_name='reconciliation',
            name='differences',
            field=models.PositiveIntegerField(verbose_name='differences'),
        ),
        migrations.AlterField(
            model_name='reconciliation',
            name='ended_at',
            field=models.DateTimeField(verbose_name='ended at'),
        ),
        migrations.AlterField(
            model_name='reconciliation',
            name='findings',
            field=models.JSONField(blank=True, default=list, help_text='What differs and why, in words.', verbose_name='findings'),
        ),
        migrations.AlterField(
            model_name='reconciliation',
            name='refunded',
            field=models.PositiveIntegerField(help_text='Orphaned charges that were refunded.', verbose_name='refunded'),
        ),
        migrations.AlterField(
            model_name='reconciliation',
            name='since_at',
            field=models.DateTimeField(blank=True, null=True, verbose_name='since at'),
        ),
        migrations.AlterField(
            model_name='reconciliation',
            name='started_at',
            field=models.DateTimeField(verbose_name='started at'),
        ),
        migrations.AlterField(
            model_name='reconciliation',
            name='unread',
            field=models.CharField(blank=True, help_text="Why the gateway's book could not be read.", max_length=255, verbose_name='unread'),
        ),
        migrations.AlterField(
            model_name='reconciliation',
            name='until_at',
            field=models.DateTimeField(blank=True, null=True, verbose_name='until at'),
        ),
        migrations.AlterField(
            model_name='transfer',
            name='at',
            field=models.DateTimeField(verbose_name='at'),
        ),
        migrations.AlterField(
            model_name='transfer',
            name='kind',
            field=models.CharField(choices=[('hold', 'points held for an order'), ('release', 'held points released'), ('sale', 'an order settled'), ('refund', 'an order refunded'), ('top_up', 'points bought by card'), ('grant', 'points granted by staff')], max_length=16, verbose_name='kind'),
        ),
        migrations.AlterField(
            model_name='transfer',
            name='order',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='transfers', to='orders.order', verbose_name='order'),
        ),
        migrations.AlterField(
            model_name='transfer',
            name='reason',
            field=models.CharField(blank=True, max_length=255, verbose_name='reason'),
        ),
        migrations.AlterField(
            model_name='transfer',
            name='reference',
            field=shop.fields.ExactCharField(max_length=96, verbose_name='reference'),
        ),
        migrations.AlterField(
            model_name='webhookevent',
            name='attempts',
            field=models.PositiveIntegerField(default=0, verbose_name='attempts'),
        ),
        migrations.AlterField(
            model_name='webhookevent',
            name='charge_key',
            field=shop.fields.ExactCharField(blank=True, max_length=96, verbose_name='charge key'),
        ),
        migrations.AlterField(
            model_name='webhookevent',
            name='event_id',
            field=shop.fields.ExactCharField(max_length=255, verbose_name='event id'),
        ),
        migrations.AlterField(
            model_name='webhookevent',
            name='gateway',
            field=models.CharField(max_length=16, verbose_name='gateway'),
        ),
        migrations.AlterField(
            model_name='webhookevent',
            name='handled_at',
            field=models.DateTimeField(blank=True, null=True, verbose_name='handled at'),
        ),
        migrations.AlterField(
            model_name='webhookevent',
            name='next_attempt_at',
            field=models.DateTimeField(blank=True, null=True, verbose_name='next attempt at'),
        ),
        migrations.AlterField(
            model_name='webhookevent',
            name='outcome',
            field=models.CharField(blank=True, max_length=255, verbose_name='outcome'),
        ),
        migrations.AlterField(
            model_name='webhookevent',
            name='received_at',
            field=models.DateTimeField(verbose_name='received at'),
        ),
        migrations.AlterField(
            model_name='webhookevent',
            name='type',
            field=models.CharField(max_length=64, verbose_name='type'),
        ),
    ]
