"""What `make test-containers` rests on and needs no engine: its files, and that it leaves nothing out."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from scripts.containers import images, project
from scripts.containers.checks import update
from scripts.stack import places
from scripts.stack.instance import Instance

OPERATIONS = places.PROJECT / "docs" / "operations.md"


class Overriding(yaml.SafeLoader):
    """Reads Compose's own tags as what they tag."""


Overriding.add_constructor("!override", lambda loader, node: loader.construct_sequence(node))


def read(name: str) -> dict:
    return yaml.load((places.PROJECT / name).read_text(), Loader=Overriding)["services"]  # noqa: S506


COMPOSE, SIMULATORS, OVERRIDE = map(read, project.FILES)
CHECKED = {
    *project.SHOP,
    *project.PROXIES,
    *project.STORES,
    *project.WATCHERS,
    *project.SIMULATORS,
    *project.ONCE,
}


def test_every_service_is_checked_or_named_as_left_out():
    assert CHECKED | project.LEFT_OUT.keys() == COMPOSE.keys() | SIMULATORS.keys()
    assert not CHECKED & project.LEFT_OUT.keys()


def test_every_image_from_outside_has_a_stand_in_or_is_left_out():
    asked = {
        service["image"]
        for name, service in COMPOSE.items()
        if not service["image"].startswith("firstcome") and name not in project.LEFT_OUT
    }
    assert asked == images.STAND_INS.keys() == images.VERSIONS.keys()
    for folder in images.STAND_INS.values():
        assert (images.FOLDER / folder / "Dockerfile").read_text().count(f"FROM {images.UNSTABLE}\n") == 1
    assert images.base_image() in (places.PROJECT / "ops" / "monitoring" / "Dockerfile").read_text()


def test_the_override_changes_ports_how_images_are_built_and_what_is_left_out_and_nothing_else():
    changed = {(key, name) for name, service in OVERRIDE.items() for key in service}
    assert {key for key, _ in changed} == {"build", "ports", "profiles"}
    assert {name for key, name in changed if key == "profiles"} == project.LEFT_OUT.keys()
    for name, service in OVERRIDE.items():
        assert service.get("build", {"network": "host"}) == {"network": "host"}, name
        for port in service.get("ports", []):
            assert re.fullmatch(r"127\.0\.0\.1:\$\{[A-Z_]+:\?\}:\d+", port), name
    published = {name for name, service in COMPOSE.items() if "ports" in service} - project.LEFT_OUT.keys()
    assert published <= {name for key, name in changed if key == "ports"}


def test_the_settings_have_every_variable_that_is_required(tmp_path: Path):
    project.write_settings(tmp_path, Instance(home=tmp_path, port=20_000, database="mysql"))
    written = dict(line.split("=", 1) for line in (tmp_path / ".env").read_text().splitlines())
    text = "".join((places.PROJECT / name).read_text() for name in project.FILES)
    assert set(re.findall(r"\$\{([A-Z_]+):\?\}", text)) <= written.keys()
    assert len({written[name] for name in project.SECRETS}) == len(project.SECRETS)
    assert (tmp_path / ".env").stat().st_mode & 0o077 == 0


def test_the_update_is_the_documented_one_with_changed_source_and_a_migration(tmp_path: Path):
    commands = update.documented_commands(OPERATIONS.read_text())
    assert commands[0][0] == "build"
    assert ["run", "--rm", "migrate"] in commands
    assert commands[-1] == ["up", "-d"]
    for folder in ("shop", "orders/migrations"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "shop" / "__init__.py").write_text('"""The shop."""\n')
    for name in ("0001_initial.py", "0002_more.py", "__init__.py"):
        (tmp_path / "orders" / "migrations" / name).touch()
    update.change_source(tmp_path)
    assert "UPDATED" in (tmp_path / "shop" / "__init__.py").read_text()
    migration = (tmp_path / "orders" / "migrations" / "0003_an_update.py").read_text()
    assert '("orders", "0002_more")' in migration
    compile(migration, "0003_an_update.py", "exec")


@pytest.mark.boots("shell programs")
def test_collected_client_programs_run_with_libraries_of_their_own(tmp_path: Path):
    """ops/backup/collect.sh, with another program in the place of MySQL's."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    # Nothing else of this machine's, which may have MySQL's programs or MariaDB's by their names.
    for tool in ("sh", "bash", "mkdir", "cp", "ldd", "cat", "grep", "basename", "ls", "head", "chmod"):
        (source / tool).symlink_to(shutil.which(tool))
    for name in ("mysql", "mysqldump"):
        shutil.copy("/usr/bin/env", source / name)
    collect = ["sh", str(places.PROJECT / "ops" / "backup" / "collect.sh"), str(target)]
    subprocess.run(collect, env={"PATH": str(source)}, check=True)
    assert {path.name for path in (target / "bin").iterdir()} == {"mysql", "mysqldump"}
    assert list((target / "lib").glob("libc.so*"))
    ran = subprocess.run([target / "bin" / "mysqldump", "--version"], env={}, capture_output=True, text=True)
    assert ran.stdout.startswith("env ")
    (source / "mysqldump").unlink()
    refused = subprocess.run(collect, env={"PATH": str(source)}, capture_output=True, text=True)
    assert refused.returncode == 1
    assert refused.stderr == "this image has no mysqldump\n"
