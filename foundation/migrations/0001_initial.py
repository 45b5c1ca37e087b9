"""The tables that all apps stand on."""

import datetime
import django.db.models.deletion
import foundation.fields
import uuid_utils.compat
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('auth', '0012_alter_user_first_name_max_length'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='Approval',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False,
                    verbose_name='ID')),
                ('kind', models.CharField(max_length=32, verbose_name='kind')),
                ('subject', foundation.fields.ExactCharField(max_length=96, verbose_name='subject')),
                ('arguments', models.JSONField(verbose_name='arguments')),
                ('account_id', models.BigIntegerField(blank=True, null=True, verbose_name='account id')),
                ('asker_id', models.BigIntegerField(blank=True, null=True, verbose_name='asker id')),
                ('asker_name', models.CharField(max_length=150, verbose_name='asked by')),
                ('reason', models.CharField(max_length=255, verbose_name='reason')),
                ('asked_at', models.DateTimeField(verbose_name='asked at')),
                ('status', models.CharField(choices=[('waiting', 'waiting'), ('approved', 'approved'),
                    ('refused', 'refused')], db_index=True, default='waiting', max_length=8,
                    verbose_name='status')),
                ('decider_id', models.BigIntegerField(blank=True, null=True, verbose_name='decider id')),
                ('decider_name', models.CharField(blank=True, max_length=150, verbose_name='decided by')),
                ('answer', models.CharField(blank=True, max_length=255, verbose_name='answer')),
                ('decided_at', models.DateTimeField(blank=True, null=True, verbose_name='decided at')),
                ('outcome', models.CharField(blank=True, max_length=255, verbose_name='outcome')),
            ],
            options={
                'verbose_name': 'approval',
                'verbose_name_plural': 'approvals',
                'constraints': [
                    models.CheckConstraint(condition=models.Q(models.Q(('decided_at__isnull', True),
                        ('decider_id__isnull', True), ('status', 'waiting')), models.Q(('decided_at__isnull',
                        False), ('decider_id__isnull', False), ('status__in', ['approved', 'refused'])),
                        _connector='OR'), name='shop_approval_decided_ones_have_a_decider'),
                    models.CheckConstraint(condition=models.Q(models.Q(('status', 'approved'),
                        _negated=True), ('asker_id__isnull', True), models.Q(('decider_id',
                        models.F('asker_id')), _negated=True), _connector='OR'),
                        name='shop_approval_by_another_than_its_asker'),
                ],
            },
        ),
        migrations.CreateModel(
            name='IdempotencyKey',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False,
                    verbose_name='ID')),
                ('account', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT,
                    related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='account')),
                ('key_hash', foundation.fields.ExactCharField(max_length=64, verbose_name='key hash')),
                ('fingerprint', foundation.fields.ExactCharField(max_length=64, verbose_name='fingerprint')),
                ('reference', models.UUIDField(blank=True, null=True, verbose_name='reference')),
                ('status', models.PositiveSmallIntegerField(blank=True, null=True, verbose_name='status')),
                ('body', models.TextField(blank=True, verbose_name='body')),
                ('location', models.CharField(blank=True, max_length=255, verbose_name='location')),
                ('created_at', models.DateTimeField(db_index=True, verbose_name='created at')),
            ],
            options={
                'verbose_name': 'idempotency key',
                'verbose_name_plural': 'idempotency keys',
                'constraints': [
                    models.UniqueConstraint(fields=('account', 'key_hash'),
                        name='shop_idempotencykey_one_effect_per_key'),
                    models.CheckConstraint(condition=models.Q(('status__isnull', False),
                        ('reference__isnull', False), _connector='OR'),
                        name='shop_idempotencykey_has_answer_or_reference'),
                ],
            },
        ),
        migrations.CreateModel(
            name='CommittedTransaction',
            fields=[
                ('id', models.UUIDField(primary_key=True, serialize=False)),
                ('at', models.DateTimeField(db_index=True, verbose_name='at')),
            ],
            options={
                'verbose_name': 'committed transaction',
                'verbose_name_plural': 'committed transactions',
            },
        ),
        migrations.CreateModel(
            name='JournalLine',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False,
                    verbose_name='ID')),
                ('at', models.DateTimeField(verbose_name='at')),
                ('actor', models.CharField(choices=[('account', 'Account'), ('staff', 'Staff'), ('system',
                    'System'), ('anon', 'not signed in')], max_length=8, verbose_name='actor')),
                ('actor_id', models.BigIntegerField(blank=True, null=True, verbose_name='actor id')),
                ('actor_name', models.CharField(blank=True, max_length=150, verbose_name='actor name')),
                ('request_id', models.CharField(blank=True, max_length=64, verbose_name='request id')),
                ('what', models.CharField(help_text='Such as `coupon.issued`.', max_length=64,
                    verbose_name='what')),
                ('subject', foundation.fields.ExactCharField(help_text='Such as `product 7`.', max_length=96,
                    verbose_name='subject')),
                ('order_id', models.UUIDField(blank=True, null=True, verbose_name='order id')),
                ('before', models.JSONField(blank=True, null=True, verbose_name='before')),
                ('after', models.JSONField(blank=True, null=True, verbose_name='after')),
                ('detail', models.CharField(blank=True, max_length=255, verbose_name='detail')),
                ('reference', models.CharField(blank=True, help_text="The outside system's name for it.",
                    max_length=96, verbose_name='reference')),
                ('event_id', models.UUIDField(blank=True, help_text='Of an event: its name outside.',
                    null=True, verbose_name='event id')),
                ('is_internal', models.BooleanField(default=False, help_text='For staff only.',
                    verbose_name='is internal')),
            ],
            options={
                'verbose_name': 'journal line',
                'verbose_name_plural': 'journal lines',
                'permissions': [('export_list', 'Can export the lists that it can view as CSV')],
                'indexes': [
                    models.Index(fields=['order_id', 'what'], name='shop_journalline_of_order_what'),
                    models.Index(fields=['subject', 'id'], name='shop_journalline_of_subject'),
                    models.Index(fields=['actor_id', 'id'], name='shop_journalline_of_actor'),
                    models.Index(fields=['what', 'id'], name='shop_journalline_of_what'),
                    models.Index(fields=['at'], name='shop_journalline_by_instant'),
                ],
            },
        ),
        migrations.CreateModel(
            name='LawStatus',
            fields=[
                ('law', models.CharField(max_length=8, primary_key=True, serialize=False,
                    verbose_name='law')),
                ('holds', models.BooleanField(verbose_name='holds')),
                ('checked', models.PositiveBigIntegerField(default=0,
                    help_text='How many rows the latest audit looked at.', verbose_name='checked')),
                ('offenders', models.JSONField(blank=True, default=list,
                    help_text='At most 100 of those that break it.', verbose_name='offenders')),
                ('suspects', models.JSONField(blank=True, default=list, verbose_name='suspects')),
                ('is_incomplete', models.BooleanField(default=False, verbose_name='is incomplete')),
                ('since', models.DateTimeField(help_text='Since when it holds, or is broken.',
                    verbose_name='since')),
                ('checked_at', models.DateTimeField(blank=True,
                    help_text='The start of the latest audit of it.', null=True, verbose_name='checked at')),
                ('full_at', models.DateTimeField(blank=True,
                    help_text='The start of the latest full audit of it.', null=True,
                    verbose_name='full at')),
                ('took', models.DurationField(default=datetime.timedelta(0),
                    help_text='How long the latest audit checked it.', verbose_name='took')),
                ('not_checked', models.CharField(blank=True,
                    help_text='Why the latest audit could not check it.', max_length=255,
                    verbose_name='not checked')),
            ],
            options={
                'verbose_name': 'law status',
                'verbose_name_plural': 'law statuses',
            },
        ),
        migrations.CreateModel(
            name='AuditState',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False,
                    verbose_name='ID')),
                ('lease_token', models.CharField(blank=True, max_length=32, verbose_name='lease token')),
                ('leased_until', models.DateTimeField(blank=True, null=True, verbose_name='leased until')),
                ('marks', models.JSONField(blank=True, default=list, verbose_name='marks')),
                ('audited_at', models.DateTimeField(blank=True, help_text='The start of the latest audit.',
                    null=True, verbose_name='audited at')),
                ('full_at', models.DateTimeField(blank=True, help_text='The start of the latest full audit.',
                    null=True, verbose_name='full at')),
                ('progress', models.JSONField(blank=True, null=True, verbose_name='progress')),
            ],
            options={
                'verbose_name': 'audit state',
                'verbose_name_plural': 'audit states',
            },
        ),
        migrations.CreateModel(
            name='ProcessLease',
            fields=[
                ('name', models.CharField(max_length=32, primary_key=True, serialize=False,
                    verbose_name='name')),
                ('holder', models.CharField(max_length=200, verbose_name='holder')),
                ('leased_until', models.DateTimeField(verbose_name='leased until')),
            ],
            options={
                'verbose_name': 'process lease',
                'verbose_name_plural': 'process leases',
            },
        ),
        migrations.CreateModel(
            name='ArchivedMonth',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False,
                    verbose_name='ID')),
                ('archive_id', models.UUIDField(unique=True, verbose_name='archive id')),
                ('table', models.CharField(max_length=32, verbose_name='table')),
                ('month', models.CharField(max_length=7, verbose_name='month')),
                ('part', models.PositiveSmallIntegerField(verbose_name='part')),
                ('state', models.CharField(choices=[('deleting', 'deleting'), ('archived', 'archived'),
                    ('restoring', 'restoring')], max_length=16, verbose_name='state')),
                ('file', models.CharField(max_length=100, verbose_name='file')),
                ('size', models.PositiveBigIntegerField(help_text='Of the file, in bytes.',
                    verbose_name='size')),
                ('sha256', foundation.fields.ExactCharField(help_text='Of the file.', max_length=64,
                    verbose_name='sha256')),
                ('columns', models.JSONField(verbose_name='columns')),
                ('rows', models.PositiveBigIntegerField(verbose_name='rows')),
                ('first_key', models.CharField(max_length=36, verbose_name='first key')),
                ('last_key', models.CharField(max_length=36, verbose_name='last key')),
                ('removed', models.PositiveBigIntegerField(default=0, verbose_name='removed')),
                ('kept', models.JSONField(default=list, verbose_name='rows kept')),
                ('sums', models.JSONField(default=dict, verbose_name='sums')),
                ('created_at', models.DateTimeField(verbose_name='created at')),
                ('archived_at', models.DateTimeField(blank=True, null=True, verbose_name='archived at')),
            ],
            options={
                'verbose_name': 'archived month',
                'verbose_name_plural': 'archived months',
                'constraints': [
                    models.UniqueConstraint(fields=('table', 'month', 'part'),
                        name='shop_archivedmonth_one_per_table_month_and_part'),
                    models.CheckConstraint(condition=models.Q(('removed__lte', models.F('rows'))),
                        name='shop_archivedmonth_removes_what_was_written'),
                ],
            },
        ),
        migrations.CreateModel(
            name='ArchivedPaidEvent',
            fields=[
                ('order_id', models.UUIDField(primary_key=True, serialize=False, verbose_name='order id')),
                ('month', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+',
                    to='shop.archivedmonth', verbose_name='archived month')),
            ],
            options={
                'verbose_name': 'archived paid event',
                'verbose_name_plural': 'archived paid events',
            },
        ),
    ]
