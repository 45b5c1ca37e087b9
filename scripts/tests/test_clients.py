"""What clients/ has of docs/openapi.yaml is current, and a change that was forgotten is found."""

import shutil
from pathlib import Path

import pytest

from scripts import clients

pytestmark = pytest.mark.boots("the generator of the client")


def test_the_generated_parts_are_what_the_document_says():
    assert clients.python_drift() == []
    assert clients.generate_typescript() == clients.TYPESCRIPT.read_text(), "run `make clients`"


def test_files_that_are_changed_left_over_or_missing_are_named(tmp_path: Path):
    kept = shutil.copytree(clients.PYTHON, tmp_path / "generated")
    (kept / "models" / "wallet_body.py").write_text("changed = True\n")
    (kept / "models" / "left_over.py").write_text("")
    (kept / "api" / "wallet" / "get_wallet.py").unlink()
    changed = ["api/wallet/get_wallet.py", "models/left_over.py", "models/wallet_body.py"]
    assert clients.python_drift(kept) == changed
