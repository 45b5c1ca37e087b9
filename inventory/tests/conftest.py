"""What the tests of stock share."""

import tempfile

import pytest


@pytest.fixture(autouse=True)
def _own_temporary_folder(monkeypatch, tmp_path):
    """Uploads that are never confirmed are left in the test's own folder."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
