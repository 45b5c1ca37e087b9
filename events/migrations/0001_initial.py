"""The tables of the event feed, of webhook endpoints and of deliveries."""

import django.db.models.deletion
import foundation.fields
import uuid_utils.compat
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name='FeedEvent',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False,
                    verbose_name='ID')),
                ('position', models.BigIntegerField(blank=True, null=True, verbose_name='position')),
                ('event_id', models.UUIDField(verbose_name='event id')),
                ('type', models.CharField(help_text='Such as `order.paid`.', max_length=64,
                    verbose_name='type')),
                ('order_id', models.UUIDField(blank=True, null=True, verbose_name='order id')),
                ('at', models.DateTimeField(verbose_name='at')),
                ('data', models.JSONField(verbose_name='data')),
            ],
            options={
                'verbose_name': 'event',
                'verbose_name_plural': 'events',
                'constraints': [
                    models.UniqueConstraint(fields=('position',), name='events_feedevent_one_per_position'),
                    models.UniqueConstraint(fields=('event_id',), name='events_feedevent_one_per_event_id'),
                ],
            },
        ),
        migrations.CreateModel(
            name='FeedState',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False,
                    verbose_name='ID')),
                ('last_position', models.BigIntegerField(default=0, verbose_name='last position')),
                ('swept_position', models.BigIntegerField(default=0, verbose_name='swept position')),
                ('gaps', models.JSONField(default=list, verbose_name='gaps')),
            ],
            options={
                'verbose_name': 'state of the event feed',
                'verbose_name_plural': 'states of the event feed',
                'constraints': [
                    models.CheckConstraint(condition=models.Q(('swept_position__gte', 0),
                        ('swept_position__lte', models.F('last_position'))),
                        name='events_feedstate_sweeps_given_positions'),
                ],
            },
        ),
        migrations.CreateModel(
            name='WebhookEndpoint',
            fields=[
                ('id', models.UUIDField(default=uuid_utils.compat.uuid7, editable=False, primary_key=True,
                    serialize=False)),
                ('kind', models.CharField(choices=[('program', 'program'), ('data_platform',
                    'data platform, by a protocol of its own')], default='program', max_length=16,
                    verbose_name='kind')),
                ('url', foundation.fields.ExactCharField(max_length=500, verbose_name='url')),
                ('events', models.JSONField(verbose_name='events')),
                ('description', models.CharField(blank=True, max_length=255, verbose_name='description')),
                ('secret', foundation.fields.ExactCharField(blank=True, max_length=64, verbose_name='secret')),
                ('former_secrets', models.JSONField(blank=True, null=True, verbose_name='former secrets')),
                ('owner_id', models.BigIntegerField(blank=True,
                    help_text='The account for which it gets events.', null=True, verbose_name='owner id')),
                ('api_key_id', models.BigIntegerField(blank=True, null=True, verbose_name='API key id')),
                ('position', models.BigIntegerField(default=0, verbose_name='position')),
                ('created_at', models.DateTimeField(verbose_name='created at')),
                ('failing_since', models.DateTimeField(blank=True,
                    help_text='Since when nothing was delivered.', null=True, verbose_name='failing since')),
                ('failures', models.PositiveIntegerField(default=0, help_text='In a row.',
                    verbose_name='failures')),
                ('next_attempt_at', models.DateTimeField(blank=True, null=True,
                    verbose_name='next attempt at')),
                ('disabled_at', models.DateTimeField(blank=True, null=True, verbose_name='disabled at')),
                ('disabled_by', models.CharField(blank=True, choices=[('staff', 'staff'), ('failures',
                    'days of failures'), ('rights', 'a right that its owner lost')], default='',
                    max_length=8, verbose_name='disabled by')),
                ('lease_token', models.CharField(blank=True, max_length=32, verbose_name='lease token')),
                ('leased_until', models.DateTimeField(blank=True, null=True, verbose_name='leased until')),
            ],
            options={
                'verbose_name': 'webhook endpoint',
                'verbose_name_plural': 'webhook endpoints',
                'constraints': [
                    models.CheckConstraint(condition=models.Q(('kind', 'data_platform'), models.Q(('secret',
                        ''), _negated=True), _connector='OR'),
                        name='events_webhookendpoint_programs_have_a_secret'),
                ],
            },
        ),
        migrations.CreateModel(
            name='WebhookDelivery',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False,
                    verbose_name='ID')),
                ('endpoint', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE,
                    related_name='deliveries', to='events.webhookendpoint', verbose_name='webhook endpoint')),
                ('position', models.BigIntegerField(blank=True, null=True, verbose_name='position')),
                ('event_id', models.UUIDField(verbose_name='event id')),
                ('order_id', models.UUIDField(blank=True, null=True, verbose_name='order id')),
                ('type', models.CharField(max_length=64, verbose_name='type')),
                ('payload', models.JSONField(blank=True, null=True, verbose_name='payload')),
                ('status', models.CharField(choices=[('pending', 'pending'), ('delivered', 'Delivered'),
                    ('failed', 'given up')], max_length=10, verbose_name='status')),
                ('attempts', models.PositiveIntegerField(default=0, verbose_name='attempts')),
                ('next_attempt_at', models.DateTimeField(blank=True, null=True,
                    verbose_name='next attempt at')),
                ('response_status', models.PositiveSmallIntegerField(blank=True, null=True,
                    verbose_name='response status')),
                ('refused_at', models.DateTimeField(blank=True,
                    help_text='Since when the data platform refuses it for good, with the same status each time.',
                    null=True, verbose_name='refused at')),
                ('error', models.CharField(blank=True, max_length=255, verbose_name='error')),
                ('created_at', models.DateTimeField(db_index=True, verbose_name='created at')),
                ('delivered_at', models.DateTimeField(blank=True, null=True, verbose_name='delivered at')),
            ],
            options={
                'verbose_name': 'webhook delivery',
                'verbose_name_plural': 'webhook deliveries',
                'indexes': [
                    models.Index(fields=['endpoint', 'status', 'id'], name='events_webhookdelivery_status'),
                    models.Index(fields=['endpoint', 'status', 'next_attempt_at'],
                        name='events_webhookdelivery_due'),
                    models.Index(fields=['endpoint', 'order_id'], name='events_webhookdelivery_order'),
                ],
                'constraints': [
                    models.CheckConstraint(condition=models.Q(models.Q(('delivered_at__isnull', True),
                        ('next_attempt_at__isnull', False), ('status', 'pending')),
                        models.Q(('delivered_at__isnull', False), ('next_attempt_at__isnull', True),
                        ('status', 'delivered')), models.Q(('delivered_at__isnull', True),
                        ('next_attempt_at__isnull', True), ('status', 'failed')), _connector='OR'),
                        name='events_webhookdelivery_pending_has_next_attempt'),
                    models.UniqueConstraint(fields=('endpoint', 'event_id'),
                        name='events_webhookdelivery_one_per_event'),
                ],
            },
        ),
    ]
