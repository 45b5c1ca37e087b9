"""Disputes of charges, and events that name a charge by its reference. The release before writes neither."""

import django.db.models.deletion
import shop.fields
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('payments', '0010_granted_days'),
    ]

    operations = [
        migrations.AddField(
            model_name='webhookevent',
            name='charge_reference',
            field=models.CharField(blank=True, db_default='', default='', help_text="The gateway's id of the charge, where the event has no key.", max_length=96, verbose_name='charge reference'),
        ),
        migrations.AlterField(
            model_name='transfer',
            name='kind',
            field=models.CharField(choices=[('hold', 'points held for an order'), ('release', 'held points released'), ('sale', 'an order settled'), ('refund', 'an order refunded'), ('top_up', 'points bought by card'), ('grant', 'points granted by staff'), ('forfeit', 'points forfeited by an erased account'), ('loss', 'lost in a dispute')], max_length=16, verbose_name='kind'),
        ),
        migrations.CreateModel(
            name='Dispute',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('reference', shop.fields.ExactCharField(help_text="The gateway's id of the dispute.", max_length=96, verbose_name='reference')),
                ('status', models.CharField(choices=[('open', 'open'), ('won', 'won'), ('lost', 'lost')], max_length=8, verbose_name='status')),
                ('amount', models.PositiveBigIntegerField(verbose_name='amount')),
                ('due_at', models.DateTimeField(blank=True, help_text="When the shop's answer is due at the gateway.", null=True, verbose_name='due at')),
                ('opened_at', models.DateTimeField(verbose_name='opened at')),
                ('closed_at', models.DateTimeField(blank=True, null=True, verbose_name='closed at')),
                ('payment', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='disputes', to='payments.payment', verbose_name='payment')),
            ],
            options={
                'verbose_name': 'dispute',
                'verbose_name_plural': 'disputes',
                'indexes': [models.Index(fields=['status'], name='payments_dispute_by_status')],
                'constraints': [models.UniqueConstraint(fields=('payment', 'reference'), name='payments_dispute_once_per_payment_and_reference'), models.CheckConstraint(condition=models.Q(models.Q(('closed_at__isnull', True), ('status', 'open')), models.Q(('closed_at__isnull', False), ('status__in', ['won', 'lost'])), _connector='OR'), name='payments_dispute_closed_at_says_closed')],
            },
        ),
    ]
