"""The documented update under load: what clients see of it."""

import re
import time
from itertools import pairwise
from pathlib import Path

from lab.chaos.calls import Request
from lab.containers.project import BUILD_SECONDS, SHOP, Project
from lab.containers.report import require

MIGRATION_SECONDS = 5
MARK = "UPDATED = True\n"
"""Appended to a module of the shop: the changed source, by which the new containers are known."""
MIGRATION = """from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("orders", "{previous}")]
    operations = [migrations.RunSQL("DO SLEEP({seconds})", migrations.RunSQL.noop)]
"""
DOCUMENTED = re.compile(r"^### An update\n\n```\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def change_source(folder: Path) -> None:
    """Change a module, and add a migration that takes some seconds."""
    module = folder / "shop" / "__init__.py"
    module.write_text(module.read_text() + MARK)
    migrations = folder / "orders" / "migrations"
    newest = max(path.stem for path in migrations.glob("[0-9]*.py"))
    text = MIGRATION.format(previous=newest, seconds=MIGRATION_SECONDS)
    (migrations / f"{int(newest[:4]) + 1:04}_an_update.py").write_text(text)


def documented_commands(page: str) -> list[list[str]]:
    """The commands below "An update" of docs/operations.md, without `docker compose`."""
    [block] = DOCUMENTED.findall(page)
    lines = [line.removeprefix("docker compose ") for line in block.splitlines()]
    return [line.split() for line in lines]


def carry_out(project: Project) -> str:
    """Do what docs/operations.md says, and wait until all is healthy. Raises CheckFailed."""
    change_source(project.folder)
    took: list[str] = []
    for words in documented_commands((project.folder / "docs" / "operations.md").read_text()):
        started = time.monotonic()
        project.compose(*words, within_seconds=BUILD_SECONDS)
        took.append(f"{' '.join(words)} {time.monotonic() - started:.1f} s")
    project.wait_until_healthy()
    for service in SHOP:
        script = "import shop; print(shop.UPDATED)"
        printed = project.compose("exec", "-T", service, "python", "-c", script)
        require(printed.strip() == "True", f"{service} still has the old source: {printed}")
    project.manage("migrate --check")
    return ", ".join(took)


def describe(requests: list[Request]) -> str:
    """How many requests clients made meanwhile, and how long none was served."""
    refused = [one for one in requests if one.result == "no answer"]
    unavailable = [one for one in requests if one.result.startswith("5")]
    served = sorted(one.ended for one in requests if one.is_good)
    longest = max((after - before for before, after in pairwise(served)), default=0.0)
    return (
        f"{len(served)} requests got a final answer; {len(refused)} attempts got no answer and"
        f" {len(unavailable)} a 5xx, and were repeated; none was answered for {longest:.1f} s at most"
    )
