"""The how-to guides: those that change code are carried out in a copy of the project, backups on MariaDB."""

import os
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest
from django.db import connection

from coupons.tests.factories import CampaignFactory
from foundation.tests import dumps
from foundation.tests.factories import set_columns
from scripts import clients
from scripts.stack import places
from scripts.tests import documented, programs
from scripts.tests.programs import run_lines
from shop.tests.test_migrate import new_database

GUIDES = ("add-a-strategy", "add-a-gateway", "add-a-partner", "add-a-saga-step")
SECONDS = 240
TESTS = re.compile(r'^make test ARGS="(.+)"$', re.MULTILINE)


@pytest.mark.boots("ruff and pytest in a copy of the project")
@pytest.mark.parametrize("guide", GUIDES)
def test_a_guide_that_is_followed_leads_to_code_that_passes_its_tests(transactional_db, guide, tmp_path):
    copy = copy_project(tmp_path)
    blocks = documented.blocks(documented.page(f"howto/{guide}.md"))
    for block in blocks:
        if block.title:
            documented.write_or_edit(copy, block)
    [arguments] = [
        found[1] for block in blocks if block.language == "sh" for found in TESTS.finditer(block.text)
    ]

    if "shop/settings.toml" in {block.title for block in blocks}:
        # `make generate`, as far as the tests of the guides ask for it.
        programs.run([sys.executable, "-m", "scripts.check", "--write", "reference"], copy)
    files = [block.title for block in blocks if block.title.endswith(".py")]
    for words in (["check"], ["format", "--check"]):
        programs.run([sys.executable, "-m", "ruff", *words, *files], copy)
    # What `make test ARGS=…` runs, on this process's throwaway servers and its database.
    pytest_of = ["-m", "pytest", "-p", "no:cacheprovider", "--reuse-db", *shlex.split(arguments)]
    name = connection.settings_dict["NAME"]
    ran = programs.run([sys.executable, *pytest_of], copy, seconds=SECONDS, TEST_DATABASE_NAME=name)
    passed = re.search(r"(\d+) passed", ran)
    assert passed and int(passed[1]) > 0, ran


def copy_project(folder: Path) -> Path:
    """The project's tracked files, as they are now, and the generated client, in a new folder."""
    copy = folder / "project"
    listed = programs.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"])
    for name in filter(None, listed.split("\0")):
        source, target = places.PROJECT / name, copy / name
        if source.is_file() and not name.startswith(("docs/lab/", "docs/adr/")):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    shutil.copytree(clients.PYTHON, copy / clients.PYTHON.relative_to(places.PROJECT))
    return copy


@pytest.mark.boots("another process of the shop")
def test_a_backup_is_restored_as_the_guide_says(transactional_db, tmp_path):
    restored = f"{connection.settings_dict['NAME']}_restored"
    campaign = CampaignFactory(name="Before the backup")
    text = documented.page("howto/restore-a-backup.md").partition("## MariaDB and MySQL")[2]
    backup, restore = (shown.lines for shown in documented.transcript(text))

    name = connection.settings_dict["NAME"]
    password = connection.settings_dict["PASSWORD"]
    options = [*dumps.options_of_server()[1:], f"--password={password}"]
    lines = ["[client]", *(option.removeprefix("--") for option in options)]
    (tmp_path / "backup.cnf").write_text("\n".join(lines))
    paste(backup, tmp_path, name)
    set_columns(campaign, name="After the backup")
    with new_database(restored), connection.cursor() as cursor:
        paste(restore, tmp_path, restored)
        table = f"{connection.ops.quote_name(restored)}.coupons_campaign"
        cursor.execute(f"SELECT name FROM {table} WHERE id = %s", [campaign.pk])  # noqa: S608
        assert cursor.fetchall() == (("Before the backup",),)


def paste(lines: str, folder: Path, database: str):
    """Shell lines in the project's folder, on this database of the test's server; they have to succeed."""
    url, _, options = os.environ["DATABASE_URL"].partition("?")
    own = lines.replace("/backups", str(folder)).replace("/etc/firstcome", str(folder))
    own = re.sub(r"\bfirstcome(_restored)?\b(?=$| \|)", database, own, flags=re.MULTILINE)
    own = own.replace("python ", f"{sys.executable} ")
    run_lines(own, places.PROJECT, DATABASE_URL=f"{url.rpartition('/')[0]}/{database}?{options}")
