"""The guide to backups, for MariaDB: its backup is restored whole into an empty database."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connection

from coupons.models import Campaign
from coupons.tests.factories import CampaignFactory
from scripts.stack import places
from scripts.tests import documented
from scripts.tests.programs import run_lines


@pytest.fixture
def restored() -> Iterator[str]:
    """The name of a new, empty database, dropped afterwards."""
    name = f"{connection.settings_dict['NAME']}_restored"
    quoted = connection.ops.quote_name(name)
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {quoted} CHARACTER SET utf8mb4")
        yield name
        cursor.execute(f"DROP DATABASE {quoted}")


@pytest.mark.boots("another process of the shop")
@pytest.mark.django_db(transaction=True)
def test_a_backup_is_restored_as_the_guide_says(restored, tmp_path):
    campaign = CampaignFactory.create(name="Before the backup")
    text = documented.page("howto/restore-a-backup.md").partition("## MariaDB and MySQL")[2]
    backup, restore = (shown.lines for shown in documented.transcript(text))

    paste(backup, tmp_path, connection.settings_dict["NAME"])
    Campaign.objects.filter(pk=campaign.pk).update(name="After the backup")
    paste(restore, tmp_path, restored)

    with connection.cursor() as cursor:
        table = f"{connection.ops.quote_name(restored)}.coupons_campaign"
        cursor.execute(f"SELECT name FROM {table} WHERE id = %s", [campaign.pk])  # noqa: S608
        assert cursor.fetchall() == (("Before the backup",),)


def paste(lines: str, folder: Path, database: str) -> None:
    """Shell lines in the project's folder, on this database of the test's server; they have to succeed."""
    url, _, options = os.environ["DATABASE_URL"].partition("?")
    own = lines.replace("/backups", str(folder)).replace("python ", f"{sys.executable} ")
    run_lines(own, places.PROJECT, DATABASE_URL=f"{url.rpartition('/')[0]}/{database}?{options}")
