"""The README's session goes to the instance that it is pasted beside; that it works the smoke shows."""

import re
from pathlib import Path

import pytest

from scripts import smoke
from scripts.stack import SetupError, places
from scripts.stack.instance import Instance


def test_every_address_in_the_session_is_the_instances(tmp_path: Path):
    text = smoke.session(Instance(home=tmp_path, port=9100, database="sqlite"))
    assert set(re.findall(r"http://\S+?:(\d+)", text)) == {"9100", "9101"}
    assert "ARGS=audit" in text


def test_a_readme_without_its_session_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "README.md").write_text("# Firstcome\n\n## A session\n\nSoon.\n")
    monkeypatch.setattr(places, "PROJECT", tmp_path)
    with pytest.raises(SetupError, match="no block of shell"):
        smoke.session(Instance(home=tmp_path, port=9100, database="sqlite"))
