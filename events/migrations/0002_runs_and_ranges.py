"""Positions of events by run, and ranges in the log of deliveries: a row for all events that an endpoint accepted at once.

Runs get positions once `finish_upgrade` has run; until then a state that exists says that none does.
"""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [('events', '0001_initial')]

    operations = [
        migrations.AddField('feedevent', 'run_offset', models.SmallIntegerField(default=0, db_default=0,
            verbose_name='events before it in its run')),
        migrations.AddField('feedevent', 'run_length', models.SmallIntegerField(default=1, db_default=1,
            verbose_name='events of its run')),
        migrations.AddConstraint('feedevent', models.UniqueConstraint(fields=['position', 'run_offset'],
            name='events_feedevent_one_run_per_position')),
        migrations.RemoveConstraint('feedevent', 'events_feedevent_one_per_position'),
        migrations.AddField('feedstate', 'runs_after', models.BigIntegerField(blank=True, null=True,
            verbose_name='positions of runs come after')),
        # Of new shops, and not of the row that is there.
        migrations.AlterField('feedstate', 'runs_after', models.BigIntegerField(blank=True, default=0, null=True,
            verbose_name='positions of runs come after')),
        migrations.AddField('webhookdelivery', 'first_position', models.BigIntegerField(blank=True, null=True,
            verbose_name='first position')),
        migrations.AddField('webhookdelivery', 'patterns', models.JSONField(blank=True, null=True,
            verbose_name='patterns')),
        migrations.AddIndex('webhookdelivery', models.Index(fields=['endpoint', 'position'],
            name='events_webhookdelivery_place')),
    ]
