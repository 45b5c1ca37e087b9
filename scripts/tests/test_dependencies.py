"""The audit of the locked packages, and the bill of materials."""

import json
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from scripts.dependencies import audit, locked, sbom
from scripts.dependencies.locked import Package

FILE = {"filename": "django-5.2.tar.gz", "hashes": {"sha256": "a" * 64}, "yanked": False}
DJANGO = Package("django", "5.2", frozenset({"a" * 64}))
ADVISORY = {"id": "PYSEC-2026-1", "aliases": ["CVE-2026-1"], "fix_versions": ["5.2.1"], "description": ""}
TODAY = date(2026, 11, 23)


@pytest.mark.parametrize("lock", locked.LOCKS, ids=lambda lock: lock.name)
def test_every_pin_of_a_lock_is_read_with_its_sums(lock: Path):
    packages = list(locked.packages(lock))
    assert len(packages) == sum(
        "==" in line and not line.startswith(" ") for line in lock.read_text().splitlines()
    )
    assert sum(len(package.sums) for package in packages) == lock.read_text().count("--hash=sha256:")
    assert all(package.sums for package in packages)


def test_an_advisory_is_a_finding_unless_it_is_accepted_until_today(monkeypatch: pytest.MonkeyPatch):
    found = [{"name": "django", "version": "5.2", "vulns": [ADVISORY]}]
    finding = "django 5.2: PYSEC-2026-1, mended in 5.2.1"
    assert audit.advisories(found, today=TODAY) == ([finding], [])

    monkeypatch.setattr(audit, "ACCEPTED", {"CVE-2026-1": (TODAY, "the shop has no such form")})
    assert audit.advisories(found, today=TODAY) == ([], [])
    assert audit.advisories(found, today=date(2026, 11, 24)) == ([finding], [])


def test_a_package_without_an_answer_is_not_taken_for_sound():
    found = [{"name": "django", "skip_reason": "not found"}, {"name": "redis", "version": "7", "vulns": []}]
    assert audit.advisories(found, today=TODAY) == ([], ["django"])


def test_a_withdrawn_file_of_the_lock_is_found_and_others_are_not():
    other = {**FILE, "hashes": {"sha256": "b" * 64}, "yanked": "broken"}
    assert list(audit.withdrawals(DJANGO, [FILE, other])) == []
    assert list(audit.withdrawals(DJANGO, [{**FILE, "yanked": "a leak"}])) == ["a leak"]
    assert list(audit.withdrawals(DJANGO, [{**FILE, "yanked": True}])) == ["no reason given"]
    with pytest.raises(ValueError, match="no locked file of django"):
        list(audit.withdrawals(DJANGO, [other]))


@pytest.mark.parametrize(
    ("known", "code", "said"),
    [
        (([], [], [], []), audit.SOUND, "no known vulnerability"),
        ((["django 5.2: PYSEC-2026-1"], ["redis"], [], []), audit.VULNERABLE, "FINDING django 5.2: PYSEC"),
        (
            ([], [], ["django 5.2 is withdrawn: a leak"], []),
            audit.VULNERABLE,
            "FINDING django 5.2 is withdrawn",
        ),
        (
            ([], ["redis"], [], []),
            audit.NOT_AUDITED,
            "NOT AUDITED: 1 packages have no answer from advisories",
        ),
        (([], [], [], ["redis"]), audit.NOT_AUDITED, "no answer from the index: redis"),
    ],
)
def test_the_exit_code_says_what_is_known(
    capsys: pytest.CaptureFixture, known: tuple[list[str], ...], code: int, said: str
):
    assert audit.conclude(*known) == code
    assert said in capsys.readouterr().out


class Index(BaseHTTPRequestHandler):
    """An index of packages that knows Django alone."""

    def do_GET(self) -> None:
        is_known = self.path == "/django/"
        self.send_response(200 if is_known else 404)
        self.end_headers()
        self.wfile.write(json.dumps({"files": [{**FILE, "yanked": "a leak"}]}).encode())

    def log_message(self, *_: object) -> None:
        """Nothing: a test's output is its own."""


def test_an_index_is_asked_for_each_package_and_one_that_it_lacks_is_named():
    with ThreadingHTTPServer(("127.0.0.1", 0), Index) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        packages = [DJANGO, Package("redis", "7", frozenset({"c" * 64}))]
        found = audit.withdrawn(packages, f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
    assert found == (["django 5.2 is withdrawn: a leak"], ["redis"])
    # Nothing listens there any more: that is no answer, either.
    assert audit.withdrawn([DJANGO], f"http://127.0.0.1:{server.server_port}") == ([], ["django"])


def test_the_bill_of_materials_has_every_package_that_runs_and_is_reproducible(tmp_path: Path):
    for name in ("one", "two"):
        sbom.write(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()

    bill = json.loads((tmp_path / "one").read_text())
    assert bill["bomFormat"] == "CycloneDX"
    assert bill["metadata"]["component"]["name"] == "firstcome"
    listed = {
        (part["name"].lower(), part["version"]): {
            sums["content"] for where in part["externalReferences"] for sums in where.get("hashes", ())
        }
        for part in bill["components"]
    }
    assert listed == {(one.name, one.version): set(one.sums) for one in locked.packages(locked.RUNTIME)}
    assert all(part["purl"].startswith(f"pkg:pypi/{part['name'].lower()}@") for part in bill["components"])
