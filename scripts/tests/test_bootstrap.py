"""The bootstrap, which has to speak to machines that have nothing yet."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import bootstrap
from scripts.stack import SetupError, places
from scripts.stack.programs import node_packages, system_packages
from scripts.stack.programs.system_packages import Needs
from shop.tests.case_tables import in_one_test

LOCK_FILES = [f"requirements{part}.txt" for part in ("", "-embedded", "-dev", "-test")]


def pins(name: str) -> dict[str, str]:
    """Package to version, as the lock file has them."""
    return dict(re.findall(r"^([\w.-]+)==(\S+)", (places.PROJECT / name).read_text(), flags=re.MULTILINE))


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
    ran = subprocess.run([sys.executable, "-c", pretend], cwd=places.PROJECT, capture_output=True, text=True)
    assert ran.returncode == 1
    assert ran.stderr.count("\n") == 1
    package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
    assert f"sudo apt-get install -y {package}" in ran.stderr


@pytest.mark.boots("Python, pip, make or npm")
def test_a_failing_pip_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bootstrap, "VENV", tmp_path)
    noise = (
        "print('Collecting x'); print('ERROR: No matching distribution found for x==9'); raise SystemExit(1)"
    )
    with pytest.raises(
        SystemExit, match=r"pip failed: ERROR: No matching distribution found for x==9 \("
    ) as ended:
        bootstrap.run_quietly([sys.executable, "-c", noise], "pip")
    assert "\n" not in str(ended.value)
    assert "Collecting x" in (tmp_path / "pip.log").read_text()


def test_a_changed_lock_file_is_installed_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    lock = tmp_path / "requirements.txt"
    lock.write_text("x==1")
    monkeypatch.setattr(bootstrap, "VENV", tmp_path)
    monkeypatch.setattr(bootstrap, "is_healthy", lambda: True)
    bootstrap.stamp_of(lock).write_text(bootstrap.fingerprint(lock))
    assert bootstrap.is_installed(lock)
    lock.write_text("x==2")
    assert not bootstrap.is_installed(lock)


@in_one_test("name", LOCK_FILES)
def test_every_pin_has_hashes_and_no_registry_is_named(name: str):
    text = (places.PROJECT / name).read_text()
    assert "://" not in text
    for block in re.split(r"\n(?=[\w.-]+==)", text)[1:]:
        assert "--hash=sha256:" in block, block


def test_what_is_missing_is_named_by_its_debian_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(system_packages, "SEARCH_PATH", str(tmp_path))
    packages = list(system_packages.missing(Needs(redis=True, compiler=True)))
    wanted = [
        "mariadb-server",
        "redis-server",
        "default-libmysqlclient-dev",
        "gcc",
        "pkg-config",
        "libc6-dev",
    ]
    assert [name for name in packages if not name.startswith("python3")] == wanted
    assert list(system_packages.missing(Needs())) == ["mariadb-server"]
    assert list(system_packages.missing(Needs(mariadb=False, npm=True))) == ["nodejs", "npm"]
    assert list(system_packages.missing(Needs(mariadb=False, chromium=True))) == ["chromium"]


@pytest.mark.boots("Python, pip, make or npm")
@in_one_test(
    ("target", "purpose"),
    [
        (["soak"], "soak"),
        (["soak", "DB=sqlite"], "run"),
        (["alerts"], "alerts"),
        (["chaos"], "run"),
        (["chaos", "DB=mariadb"], "mariadb"),
    ],
)
def test_each_trial_is_set_up_with_what_it_needs(target: list[str], purpose: str):
    ran = subprocess.run(
        ["make", "--dry-run", *target], cwd=places.PROJECT, capture_output=True, text=True, check=True
    )
    assert f"scripts/bootstrap.py {purpose}\n" in ran.stdout
    assert purpose in bootstrap.REQUIREMENTS


def test_the_npm_packages_are_pinned_by_hashes_and_name_no_registry():
    lock = json.loads((places.PROJECT / "scripts" / "npm" / "package-lock.json").read_text())
    packages = {name: package for name, package in lock["packages"].items() if name}
    assert {"node_modules/openapi-fetch", "node_modules/openapi-typescript"} <= packages.keys()
    for name, package in packages.items():
        assert package["integrity"].startswith("sha512-"), name
        assert "resolved" not in package, name


@pytest.mark.boots("Python, pip, make or npm")
def test_a_failing_npm_says_why_and_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pins, folder, npm = tmp_path / "pins", tmp_path / "folder", tmp_path / "bin" / "npm"
    pins.mkdir()
    npm.parent.mkdir()
    for name in ("package.json", "package-lock.json"):
        (pins / name).write_text("{}")
    npm.write_text("#!/bin/sh\necho 'npm error code E404' >&2\nexit 1\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{npm.parent}:/usr/bin:/bin")
    for _ in range(2):
        with pytest.raises(SetupError, match="npm ci failed: npm error code E404"):
            node_packages.installed(pins=pins, folder=folder)
    npm.unlink()
    monkeypatch.setenv("PATH", str(npm.parent))
    with pytest.raises(SetupError, match="sudo apt-get install -y npm"):
        node_packages.installed(pins=pins, folder=folder)
