"""The pictures in docs/images: each is taken by the command, small, and shown by a page."""

import re
from pathlib import PurePosixPath

import pytest
from PIL import Image

from scripts.docs_site import DOCS, PROJECT_PAGES
from scripts.screenshots.__main__ import FOLDER, MOST_BYTES
from scripts.screenshots.shots import SHOTS
from scripts.stack import places

PAGES = [*DOCS.rglob("*.md"), *(places.PROJECT / name for name in PROJECT_PAGES)]
SHOWN = re.compile(r"!\[([^\]]*)\]\(([^)\s]+\.png)\)")
NAMES = [shot.name for shot in SHOTS]


def test_every_picture_of_the_command_has_its_file_and_no_file_is_left_over() -> None:
    assert sorted(NAMES) == sorted(path.stem for path in FOLDER.iterdir())


def test_every_picture_is_shown_with_a_text_for_those_who_do_not_see_it() -> None:
    shown = {
        (page.parent / link).resolve(): text
        for page in PAGES
        for text, link in SHOWN.findall(page.read_text())
    }
    assert [link for link in shown if not link.exists()] == []
    assert {FOLDER / f"{name}.png" for name in NAMES} <= shown.keys()
    assert [link for link, text in shown.items() if len(text) < 20] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_is_as_wide_as_its_page_and_small(name: str) -> None:
    path = FOLDER / PurePosixPath(name).with_suffix(".png")
    shot = next(shot for shot in SHOTS if shot.name == name)
    with Image.open(path) as picture:
        assert (picture.width, picture.mode) == (shot.size[0], "P")
    assert path.stat().st_size <= MOST_BYTES
