"""A backup in the containers, the loss of MySQL's volume, and the restore into a fresh one.

The commands are those of docs/howto/restore-a-backup.md, "In the containers".
"""

import re
import time

from lab.containers.project import BUILD_SECONDS, Project
from lab.containers.report import CheckFailed, require
from lab.containers.selling import ShopUnderTest, broken_laws

SECTION = re.compile(r"^## In the containers\n(.*?)(?=^## |\Z)", re.DOTALL | re.MULTILINE)
BLOCK = re.compile(r"^```\n(.*?)^```$", re.DOTALL | re.MULTILINE)
VOLUME = "firstcome_mysql"


def documented_commands(page: str) -> tuple[list[str], list[str]]:
    """The guide's commands that make a backup, and those that restore it, a line each."""
    section = SECTION.search(page)
    blocks = BLOCK.findall(section[1]) if section else []
    if len(blocks) != 2:
        raise CheckFailed("the guide has no section `In the containers` with two blocks of shell")
    return blocks[0].splitlines(), blocks[1].splitlines()


def back_up(project: Project) -> str:
    """Back up the database while the shop runs, as the guide says."""
    backing_up, _ = _read_guide(project)
    started = time.monotonic()
    printed = [_run(project, line) for line in backing_up]
    [made] = re.findall(r"^.*tables.*$", printed[-1], flags=re.MULTILINE) or [printed[-1].strip()]
    return f"{made} ({time.monotonic() - started:.1f} s)"


def lose_and_restore(tested: ShopUnderTest) -> str:
    """Lose the database's volume, restore the backup into a new one; then every law holds.

    Orders that were paid after the backup are lost, and their charges are refunded.
    """
    project = tested.project
    known = {order["id"] for order in tested.shop.everything("/orders")}
    later = tested.order().until_paid()
    old = _created_at(project)
    _, restoring = _read_guide(project)
    started = time.monotonic()
    printed = "".join(_run(project, line) for line in restoring)
    seconds = time.monotonic() - started
    require(_created_at(project) != old, f"the volume {VOLUME} is still the old one")
    project.wait_until_healthy()
    restored = {order["id"] for order in tested.shop.everything("/orders")}
    require(restored == known, f"{len(restored ^ known)} orders differ from those at the backup")
    charges = tested.shop.gateway(f"/charges?order={later}")["results"]
    kept = sum(charge["amount"] - charge["refunded_amount"] for charge in charges)
    require(bool(charges) and kept == 0, f"the lost order's charges are not refunded: {charges}")
    require("Every law holds." in printed, f"the guide's commands printed: {printed[-800:]}")
    found = broken_laws(project)
    require(not found, "\n".join(found))
    return f"{len(known)} orders, in {seconds:.1f} s; the later one's charge is refunded; every law holds"


def _read_guide(project: Project) -> tuple[list[str], list[str]]:
    return documented_commands((project.folder / "docs" / "howto" / "restore-a-backup.md").read_text())


def _run(project: Project, line: str) -> str:
    """What a line of the guide prints. Raises CheckFailed unless it succeeds."""
    return project.engine.run("sh", "-ec", line, within_seconds=BUILD_SECONDS).stdout


def _created_at(project: Project) -> str:
    return project.engine.docker("volume", "inspect", "--format", "{{.CreatedAt}}", VOLUME)
