"""The guide to backups, for MariaDB: its dump is read back whole into an empty database."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connection

from coupons.models import Campaign
from coupons.tests.factories import CampaignFactory
from scripts.tests import documented

RESTORED = "firstcome_restored"
SECONDS = 120


@pytest.fixture
def restored() -> Iterator[str]:
    """The name of the database that the guide makes, dropped afterwards."""
    name = f"{connection.settings_dict['NAME']}_restored"
    yield name
    with connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE IF EXISTS {connection.ops.quote_name(name)}")


@pytest.mark.django_db(transaction=True)
def test_a_dump_is_restored_as_the_guide_says(restored: str, tmp_path: Path) -> None:
    campaign = CampaignFactory.create(name="Before the dump")
    text = documented.page("howto/restore-a-backup.md").partition("## MariaDB and MySQL")[2]
    dump, restore = (shown.lines for shown in documented.transcript(text))
    write_options(tmp_path / "backup.cnf")
    database = connection.settings_dict["NAME"]

    paste(dump.replace(" firstcome\n", f" {database}\n"), tmp_path)
    Campaign.objects.filter(pk=campaign.pk).update(name="After the dump")
    paste(restore.replace(RESTORED, restored), tmp_path)

    with connection.cursor() as cursor:
        table = f"{connection.ops.quote_name(restored)}.coupons_campaign"
        cursor.execute(f"SELECT name FROM {table} WHERE id = %s", [campaign.pk])  # noqa: S608
        assert cursor.fetchall() == (("Before the dump",),)
        cursor.execute(
            "SELECT table_schema, COUNT(*) FROM information_schema.tables WHERE table_schema IN (%s, %s)"
            " GROUP BY table_schema",
            [database, restored],
        )
        assert len({count for _, count in cursor.fetchall()}) == 1


def write_options(path: Path) -> None:
    """The file with the address and the password, as the guide shows it."""
    settings = connection.settings_dict
    socket = settings["OPTIONS"].get("unix_socket") or settings["HOST"]
    address = "socket" if socket.startswith("/") else "host"
    lines = [f"{address}={socket}", f"user={settings['USER']}", f"password={settings['PASSWORD']}"]
    if settings["PORT"]:
        lines.append(f"port={settings['PORT']}")
    path.write_text("\n".join(["[client]", *lines, ""]))
    path.chmod(0o600)


def paste(lines: str, folder: Path) -> None:
    """Shell lines in the folder, which have to succeed."""
    environment = os.environ | {"PATH": f"{os.environ['PATH']}:/usr/sbin:/usr/local/bin"}
    ran = subprocess.run(
        ["sh", "-euc", lines],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
