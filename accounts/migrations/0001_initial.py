"""The tables of sign-outs, tokens and API keys, and indexes on Django's table of accounts."""

import django.db.models.deletion
import foundation.fields
from django.conf import settings
from django.db import migrations, models


# On a table of Django: disabled accounts are read by each web process every two seconds, and operators search
# accounts by e-mail address, and for staff.
INDEXES = [
    ("auth", "User", models.Index(fields=["is_active"], name="accounts_user_disabled")),
    ("auth", "User", models.Index(fields=["email"], name="accounts_user_by_email")),
    ("auth", "User", models.Index(fields=["is_staff"], name="accounts_user_staff")),
]


def add_indexes(apps, schema_editor):
    for app, model, index in INDEXES:
        schema_editor.add_index(apps.get_model(app, model), index)


def remove_indexes(apps, schema_editor):
    for app, model, index in INDEXES:
        schema_editor.remove_index(apps.get_model(app, model), index)


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('auth', '0012_alter_user_first_name_max_length'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='SignOut',
            fields=[
                ('account', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE,
                    primary_key=True, related_name='+', serialize=False, to=settings.AUTH_USER_MODEL,
                    verbose_name='account')),
                ('at', models.DateTimeField(db_index=True, verbose_name='at')),
            ],
            options={
                'verbose_name': 'sign out',
                'verbose_name_plural': 'sign outs',
            },
        ),
        migrations.CreateModel(
            name='RevokedToken',
            fields=[
                ('id', foundation.fields.ExactCharField(max_length=64, primary_key=True, serialize=False,
                    verbose_name='id')),
                ('revoked_at', models.DateTimeField(verbose_name='revoked at')),
                ('expires_at', models.DateTimeField(db_index=True, verbose_name='expires at')),
            ],
            options={
                'verbose_name': 'revoked token',
                'verbose_name_plural': 'revoked tokens',
            },
        ),
        migrations.CreateModel(
            name='ApiKey',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False,
                    verbose_name='ID')),
                ('maker', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+',
                    to=settings.AUTH_USER_MODEL, verbose_name='made by')),
                ('name', models.CharField(max_length=100, verbose_name='name')),
                ('prefix', foundation.fields.ExactCharField(max_length=16, unique=True, verbose_name='prefix')),
                ('scopes', models.JSONField(verbose_name='scopes')),
                ('created_at', models.DateTimeField(verbose_name='created at')),
                ('expires_at', models.DateTimeField(blank=True, null=True, verbose_name='expires at')),
                ('revoked_at', models.DateTimeField(blank=True, null=True, verbose_name='revoked at')),
                ('last_used_at', models.DateTimeField(blank=True, help_text='Written once a minute at most.',
                    null=True, verbose_name='last used at')),
            ],
            options={
                'verbose_name': 'API key',
                'verbose_name_plural': 'API keys',
                'permissions': [('act_apikey', 'Can have API keys act for accounts')],
                'constraints': [
                    models.CheckConstraint(condition=models.Q(('expires_at__isnull', True),
                        ('expires_at__gt', models.F('created_at')), _connector='OR'),
                        name='accounts_apikey_expires_after_its_creation'),
                ],
            },
        ),
        migrations.CreateModel(
            name='ApiKeySecret',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False,
                    verbose_name='ID')),
                ('key', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE,
                    related_name='secrets', to='accounts.apikey', verbose_name='API key')),
                ('secret_hash', foundation.fields.ExactCharField(max_length=64, unique=True,
                    verbose_name='secret hash')),
                ('is_current', models.BooleanField(null=True, verbose_name='is the current secret')),
                ('valid_until', models.DateTimeField(blank=True, null=True, verbose_name='valid until')),
                ('created_at', models.DateTimeField(verbose_name='created at')),
            ],
            options={
                'verbose_name': 'secret of an API key',
                'verbose_name_plural': 'secrets of API keys',
                'constraints': [
                    models.UniqueConstraint(fields=('key', 'is_current'),
                        name='accounts_apikeysecret_one_current_per_key'),
                    models.CheckConstraint(condition=models.Q(models.Q(('is_current', True),
                        ('is_current__isnull', False), ('valid_until__isnull', True)),
                        models.Q(('is_current__isnull', True), ('valid_until__isnull', False)),
                        _connector='OR'), name='accounts_apikeysecret_former_ones_end'),
                ],
            },
        ),
        migrations.RunPython(add_indexes, remove_indexes, atomic=False),
    ]
