"""Coupons stand in one table. No release had the second one, nor the column."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("coupons", "0007_right_to_list_accounts")]

    operations = [
        migrations.RemoveConstraint(model_name="campaign", name="coupons_campaign_archived_only_once_closed"),
        migrations.RemoveField(model_name="campaign", name="archived_at"),
        migrations.DeleteModel(name="ArchivedCoupon"),
    ]
