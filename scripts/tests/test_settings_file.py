"""The `.env` file: what it may say, and the message about a broken line."""

import re
from pathlib import Path

import environ
import pytest

from payments import gateways
from scripts.stack import SetupError, environment, places
from shop.tests.case_tables import in_one_test


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / ".env"


def test_it_reads_what_django_environ_reads(file: Path, monkeypatch: pytest.MonkeyPatch):
    file.write_text("A=1\nB='two # words'\nC=\"a\\\\b \\n c\"\nexport D=a=b\nA=2\nE='it''s'\n")
    theirs: dict[str, str] = {}
    monkeypatch.setattr(environ.Env, "ENVIRON", theirs)
    environ.Env.read_env(file)
    assert environment.read_file(file) == theirs


@in_one_test(
    ("line", "complaint"),
    [
        (b"no equals sign", "expected NAME=value"),
        (b"A = 1", "expected NAME=value"),
        (b"1A=1", "expected NAME=value"),
        (b"A='open", "the quote ' is not closed"),
        (b'A="', 'the quote " is not closed'),
        (b"A=5 # seconds", "a comment needs a line of its own"),
        (b"A=\xff", "this is not UTF-8 text"),
        (b"A=\0", "NUL"),
    ],
)
def test_a_broken_line_is_named(file: Path, line: bytes, complaint: str):
    file.write_bytes(b"GOOD=1\n# fine\n" + line + b"\nALSO_GOOD=1\n")
    with pytest.raises(SetupError, match=re.escape(complaint)) as raised:
        environment.read_file(file)
    assert str(raised.value).startswith(".env line 3: ")


def test_the_example_names_every_setting_and_can_be_used(tmp_path: Path):
    example = (places.PROJECT / ".env.example").read_text()
    uncommented = tmp_path / ".env"
    uncommented.write_text(re.sub(r"^#(?=[A-Z_]+=)", "", example, flags=re.MULTILINE))
    named = set(environment.read_file(uncommented))
    settings = (places.PROJECT / "shop" / "settings.py").read_text()
    # Set by the tests, and by `make run` itself.
    internal = {"TEST_DATABASE_NAME", "FIRSTCOME_VAR"}
    asked_for = set(re.findall(r"env\.\w+\(\s*\"([A-Z_]+)\"", settings)) - internal
    asked_for |= gateways.read_settings().keys()
    assert asked_for <= named
    assert {"SECRET_KEY", "ORDER_HOLD_SECONDS", "WEB_WORKERS"} <= named
