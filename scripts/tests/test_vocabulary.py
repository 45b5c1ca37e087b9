"""The words that code and docs don't use."""

import subprocess
from pathlib import Path

from scripts import vocabulary


def test_persons_and_metaphors_are_found_where_they_stand(tmp_path: Path):
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    (tmp_path / "a.py").write_text('"""Plain."""\n# Whoever asks is told.\n')
    (tmp_path / "docs" / "adr").mkdir(parents=True)
    (tmp_path / "docs" / "adr" / "001-old.md").write_text("Nobody was told.\n")
    subprocess.run(["git", "add", "."], cwd=tmp_path, check=True)
    assert list(vocabulary.findings(tmp_path)) == ["a.py:2: Whoever", "a.py:2: told"]
    assert vocabulary.main([], tmp_path) == vocabulary.main(["a.py"], tmp_path) == 1
    assert vocabulary.main(["docs/adr/001-old.md"], tmp_path) == 0


def test_plain_words_pass():
    text = "Requests that wait share a batch; a buyer who pays twice is charged once.\nunfold = 'household'\n"
    assert list(vocabulary.banned_words(text)) == []
