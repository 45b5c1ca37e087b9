"""Packages: known vulnerabilities, the bill of materials, the lock, and the bootstrap that installs them."""

import ast
import json
import re
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from foundation.tests.case_tables import in_one_test
from scripts import bootstrap, packages
from scripts.packages import Result
from scripts.stack import places, ports, system_packages
from scripts.tests import canned_shop, programs
from scripts.tests.canned_shop import Answer, CannedShop

PINNED = {("one", "1.0"), ("two", "2.0"), ("two", "2.1")}
FOUND = {
    "id": "PYSEC-2026-1",
    "aliases": ["CVE-2026-1"],
    "summary": "example",
    "affected": [
        {
            "package": {"name": "two", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.1"}]}],
        }
    ],
}


UPLOT = ("dist/uPlot.iife.min.js", "dist/uPlot.min.css", "LICENSE")
SERVED = (
    ("lit-html", places.PROJECT / "demo/static/storefront/lit-html", ("lit-html.js", "LICENSE")),
    ("uplot", places.PROJECT / "backoffice/static/backoffice/uplot", UPLOT),
)
"""Each npm package, our folder, and the files of the package that are there."""


@pytest.fixture
def osv():
    """An OSV that knows one vulnerability, of two 2.0."""

    def answer(sent):
        is_hit = (sent.body["package"]["name"], sent.body["version"]) == ("two", "2.0")
        return Answer(200, {"vulns": [FOUND]} if is_hit else {})

    with canned_shop.running() as server:
        server.answer = answer
        yield server


def look_up(osv: CannedShop, pinned=PINNED) -> Result:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIP_AUDIT_OSV_URL", f"{osv.address}/v1/query")
        return packages.audit_python(pinned)


@pytest.mark.boots("pip-audit, the SBOM, uv or npm")
def test_a_vulnerability_that_is_not_accepted_fails_the_audit(osv, capsys):
    result = look_up(osv)
    assert result.looked_up == 3
    assert packages.report({"Python": result}, {}) == 1
    assert "VULNERABLE two 2.0: CVE-2026-1, PYSEC-2026-1: fixed in 2.1\n" in capsys.readouterr().out
    # An accepted one passes with its reason, and fails once it is gone.
    accepted = {("two", "CVE-2026-1"): "not called"}
    assert packages.report({"Python": result}, accepted) == 0
    assert "not called" in capsys.readouterr().out
    clean = look_up(osv, {("one", "1.0"), ("two", "2.1")})
    assert (packages.report({"Python": clean}, accepted), packages.report({"Python": clean}, {})) == (1, 0)


@pytest.mark.boots("pip-audit, the SBOM, uv or npm")
def test_a_source_that_is_unreachable_is_no_clean_result(osv, capsys):
    osv.address = f"http://{ports.HOST}:{ports.free()}"
    result = look_up(osv)
    assert packages.report({"Python": result}, {}) == 2
    printed = capsys.readouterr()
    assert "UNCHECKED  2 Python packages: " in printed.out
    assert "NOT CHECKED: this is no clean result" in printed.err


def test_a_program_inside_a_package_is_listed_and_its_vulnerabilities_are_accepted(capsys):
    assert packages.BUNDLED in packages.read_pins("requirements-embedded.txt")
    [redis] = [one for one in packages.components() if one["purl"].startswith("pkg:generic/")]
    assert (redis["name"], redis["version"]) == ("redis", "6.2.14")
    bundled = Result(1, [packages.REDIS])
    assert packages.report({"bundled": bundled}, packages.read_accepted()) == 0
    printed = capsys.readouterr().out
    assert "accepted   redis 6.2.14: " in printed
    assert "CVE-2025-49844" in printed
    assert packages.report({"bundled": bundled}, {}) == 1


def test_a_server_without_fixes_fails_the_audit_and_one_that_ends_soon_is_named(
    tmp_path, monkeypatch, capsys
):
    assert packages.audit_servers(date(2026, 12, 1)).vulnerabilities == []
    listed = tmp_path / "servers.toml"
    listed.write_text('["Redis 7.2"]\nend = 2026-02-28\nsource = "redis.io"\n')
    monkeypatch.setattr(packages, "SERVERS", listed)
    for day, code, word in ((date(2026, 2, 28), 0, "ENDS SOON "), (date(2026, 3, 1), 1, "VULNERABLE")):
        assert packages.report({"servers": packages.audit_servers(day)}, {}) == code
        assert f"{word} Redis 7.2 release: no fixes after 2026-02-28: redis.io\n" in capsys.readouterr().out


@pytest.mark.boots("pip-audit, the SBOM, uv or npm")
def test_the_sbom_has_each_package_of_the_lock_with_version_purl_and_hashes(tmp_path):
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    packages.write_sbom(first)
    packages.write_sbom(second)
    assert first.read_bytes() == second.read_bytes()
    document = json.loads(first.read_text())

    blocks = re.split(r"\n(?=[\w.-]+==)", (places.PROJECT / "requirements.txt").read_text())[1:]
    wanted = {packages.PIN.match(block).groups(): set(re.findall(r"sha256:(\w+)", block)) for block in blocks}
    assert wanted.keys() == packages.read_pins("requirements.txt")
    served = {one["purl"] for one in document["components"] if one["purl"].startswith("pkg:npm/")}
    assert served == {"pkg:npm/lit-html@3.3.3", "pkg:npm/uplot@1.6.32"}
    bundled = {"pkg:generic/redis@6.2.14"}
    found = {
        (one["name"], one["version"]): one
        for one in document["components"]
        if one["purl"] not in served | bundled
    }
    assert found.keys() == wanted.keys()
    for (name, version), component in found.items():
        assert component["purl"] == f"pkg:pypi/{name}@{version}"
        [distribution] = [one for one in component["externalReferences"] if one["type"] == "distribution"]
        assert {one["content"] for one in distribution["hashes"]} == wanted[name, version]


@pytest.mark.boots("pip-audit, the SBOM, uv or npm")
def test_every_script_of_another_project_is_the_one_of_its_pinned_package():
    installed = system_packages.npm_packages() / "node_modules"
    for package, folder, paths in SERVED:
        assert package in packages.SERVED
        files = {Path(path).name: installed / package / path for path in paths}
        assert {file.name for file in folder.iterdir()} == files.keys()
        for name, file in files.items():
            assert (folder / name).read_bytes() == file.read_bytes(), name


@pytest.mark.boots("pip-audit, the SBOM, uv or npm")
def test_the_lock_made_again_is_the_same(tmp_path):
    names = ("pyproject.toml", "Makefile", *packages.LOCK_FILES)
    (tmp_path / "lab").mkdir()
    for name in names:
        shutil.copy(places.PROJECT / name, tmp_path / name)
    again = ["make", "--file", "Makefile", "lock", f"VENV={sys.executable}", "BOOTSTRAP=@true"]
    ran = subprocess.run(again, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    if ran.returncode != 0 and "error sending request" in ran.stderr:
        pytest.skip("the package index can't be reached")
    assert ran.returncode == 0, ran.stderr
    for name in packages.LOCK_FILES:
        assert (tmp_path / name).read_text() == (places.PROJECT / name).read_text(), name


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


@in_one_test("name", packages.LOCK_FILES)
def test_every_pin_has_hashes_and_no_registry_is_named(name):
    text = (places.PROJECT / name).read_text()
    assert "://" not in text
    for block in re.split(r"\n(?=[\w.-]+==)", text)[1:]:
        assert "--hash=sha256:" in block, block


@pytest.mark.parametrize("folder", ["scripts/npm", "lab/openapi_rules"])
def test_the_npm_packages_are_pinned_by_hashes_and_name_no_registry(folder):
    lock, wanted = (
        json.loads((places.PROJECT / folder / name).read_text())
        for name in ("package-lock.json", "package.json")
    )
    pinned = {name: package for name, package in lock["packages"].items() if name}
    assert {f"node_modules/{name}" for name in wanted["devDependencies"]} <= pinned.keys()
    for name, package in pinned.items():
        assert package["integrity"].startswith("sha512-"), name
        assert "resolved" not in package, name
