"""The `.env` file and the environment of an instance: what they may say, and who has the last word."""

import re
import stat

import environ
import pytest

from foundation.tests.case_tables import in_one_test
from scripts.stack import SetupError, environment, places
from scripts.stack.instance import Instance
from scripts.tests import documented
from shop import configuration


def test_it_reads_what_django_environ_reads(tmp_path, monkeypatch):
    file = tmp_path / ".env"
    file.write_text("A=1\nB='two # words'\nC=\"a\\\\b \\n c\"\nexport D=a=b\nA=2\nE='it''s'\n")
    theirs = {}
    monkeypatch.setattr(environ.Env, "ENVIRON", theirs)
    environ.Env.read_env(file)
    assert environment.read_file(file) == theirs


@in_one_test("line", [b"no equals sign", b"A = 1", b"A='open", b'A="', b"A=5 # seconds", b"A=5 ", b"A= 5"])
def test_a_broken_line_is_named(tmp_path, line):
    file = tmp_path / ".env"
    file.write_bytes(b"GOOD=1\n# fine\n" + line + b"\nALSO_GOOD=1\n")
    with pytest.raises(SetupError, match=r"^\.env line 3: expected NAME=value"):
        environment.read_file(file)


def asked_for() -> set[str]:
    """What the shop's settings read by name, except what tests and `make run` set by themselves."""
    settings = (places.PROJECT / "shop" / "settings.py").read_text()
    named = set(re.findall(r"\w(?<!get)\(\s*\"([A-Z][A-Z_]+)\"", settings))
    return named - {"TEST_DATABASE_NAME", "FIRSTCOME_VAR"}


def test_the_example_names_every_setting_and_can_be_used(tmp_path):
    named = documented.example_settings(tmp_path)
    assert len(asked_for()) > 50 and asked_for() <= named.keys()
    assert {"SECRET_KEY", "ORDER_HOLD_SECONDS", "WEB_WORKERS"} <= named.keys()
    assert named == {name: setting["default"] for name, setting in configuration.SETTINGS.items()}


def test_every_setting_is_read_by_the_shop_or_by_a_program_beside_it():
    keys = {"SECRET_KEY", "SECRET_KEY_FALLBACKS"}
    of_make_run = {"MARIADB_BINARY_LOG"}
    of_simulators = {
        "GATEWAY_LATENCY_MS",
        "GATEWAY_PUBLIC_URL",
        "DATA_PLATFORM_FAILURE_RATE",
        "PARTNER_FAILURE_RATE",
    }
    of_opentelemetry = {"OTEL_EXPORTER_OTLP_HEADERS", "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"}
    others = keys | of_make_run | of_simulators | of_opentelemetry
    assert configuration.SETTINGS.keys() - asked_for() == others


@pytest.fixture
def sqlite(tmp_path):
    return Instance(home=tmp_path, port=8000, database="sqlite")


def test_secrets_are_made_once_and_kept_from_others(sqlite):
    first, second = (environment.compose(sqlite, {}) for _ in range(2))
    names = ("SECRET_KEY", "WEBHOOK_SECRET_SIMULATOR", "EVENT_SECRET")
    assert [first[name] for name in names] == [second[name] for name in names]
    assert len({first[name] for name in names}) == 3
    assert stat.S_IMODE((sqlite.home / "secrets" / "secret-key").stat().st_mode) == 0o600


@in_one_test("count", ["abc", "0", "1.5"])
def test_a_count_that_is_no_number_is_named(sqlite, count):
    with pytest.raises(SetupError, match=f"WEB_THREADS={count} is not a number"):
        environment.compose(sqlite, {"WEB_THREADS": count})
