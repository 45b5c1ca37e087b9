"""The bootstrap, which has to speak to machines that have nothing yet."""

import ast
import json
import re
import sys
from pathlib import Path

import pytest

from scripts import bootstrap
from scripts.stack import places
from scripts.tests import programs
from shop.tests.case_tables import in_one_test

LOCK_FILES = [f"requirements{part}.txt" for part in ("", "-embedded", "-dev", "-test")]


def test_an_old_python_can_read_far_enough_to_say_what_is_missing():
    source = Path(bootstrap.__file__).read_text()
    tree = ast.parse(source, feature_version=(3, 7))
    imported = {
        name.name.partition(".")[0]
        for node in tree.body
        if isinstance(node, ast.Import)
        for name in node.names
    }
    assert imported <= set(sys.stdlib_module_names)


@pytest.mark.boots("Python, pip, make or npm")
def test_a_missing_venv_module_is_one_line_with_the_package():
    pretend = (
        "import sys; sys.modules['ensurepip'] = None; import scripts.bootstrap as b; b.make_environment()"
    )
    ran = programs.end([sys.executable, "-c", pretend])
    assert ran.returncode == 1
    assert ran.stderr.count("\n") == 1
    package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
    assert f"sudo apt-get install -y {package}" in ran.stderr


@in_one_test("name", LOCK_FILES)
def test_every_pin_has_hashes_and_no_registry_is_named(name):
    text = (places.PROJECT / name).read_text()
    assert "://" not in text
    for block in re.split(r"\n(?=[\w.-]+==)", text)[1:]:
        assert "--hash=sha256:" in block, block


def test_the_npm_packages_are_pinned_by_hashes_and_name_no_registry():
    lock = json.loads((places.PROJECT / "scripts" / "npm" / "package-lock.json").read_text())
    packages = {name: package for name, package in lock["packages"].items() if name}
    assert {"node_modules/openapi-fetch", "node_modules/openapi-typescript"} <= packages.keys()
    for name, package in packages.items():
        assert package["integrity"].startswith("sha512-"), name
        assert "resolved" not in package, name
