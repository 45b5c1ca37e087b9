"""The script of docs/howto/check-a-draw.md, as it stands there, against the draw of a real sale."""

import json
import subprocess
import sys
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from django.test import Client

from sales.models import Sale, SaleEntry
from sales.tests.factories import create_sale, join_all
from sales.waiting_room import admission
from scripts.tests import documented
from shop import clock
from shop.tests.case_tables import in_one_test
from shop.tests.clients import client_of
from shop.tests.factories import SuperuserFactory

pytestmark = pytest.mark.django_db
SECONDS = 60
NUMBER = 7
ALL = "all of them, and no other one"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with the script, and the files that the page has people save: of a sale with seven entries."""
    blocks = documented.blocks(documented.page("howto/check-a-draw.md"))
    for script in [block for block in blocks if block.title in ("check_draw.py", "sort_entries.py")]:
        (tmp_path / script.title).write_text(script.text)
    sale = create_sale(opens_in=3_600, closes_in=7_200)
    join_all(sale, NUMBER)
    save_draw(sale, tmp_path / "before.json")
    Sale.objects.filter(pk=sale.pk).update(opens_at=clock.now() - timedelta(seconds=1))
    admission.advance(sale.pk)
    join_all(sale, 1)
    save_draw(sale, tmp_path / "after.json")
    in_order = SaleEntry.objects.filter(sale=sale, position__lte=NUMBER).order_by("position")
    write_ids(tmp_path, [str(entry.pk) for entry in in_order])
    return tmp_path


def save_draw(sale: Sale, file: Path) -> None:
    file.write_text(json.dumps(client_of(None).get(f"/sales/{sale.pk}/draw").json()))


def read_ids(files: Path) -> list[str]:
    return (files / "ids.txt").read_text().split()


def write_ids(files: Path, ids: list[str]) -> None:
    (files / "ids.txt").write_text("\n".join(ids) + "\n")


def run(files: Path, *arguments: str) -> tuple[int, str]:
    """The script's exit code and output, by Python without the project's packages."""
    given = arguments or ("check_draw.py", "before.json", "after.json", "ids.txt")
    command = [sys.executable, "-I", "-S", *given]
    ran = subprocess.run(command, cwd=files, capture_output=True, text=True, timeout=SECONDS, check=False)
    return ran.returncode, ran.stdout + ran.stderr


@pytest.mark.boots("a Python process")
def test_a_real_draw_is_found_right(files: Path) -> None:
    code, said = run(files)

    assert (code, "These 7 entries are in the order" in said, ALL in said) == (0, True, True), said


@pytest.mark.boots("a Python process")
def test_the_list_that_an_operator_exports_is_found_right(files: Path) -> None:
    """It has the entry that joined after the opening as well, and is in the order of the keys."""
    client = Client()
    client.force_login(SuperuserFactory.create())
    exported = client.get("/admin/sales/saleentry/export/")
    (files / "entries.csv").write_bytes(b"".join(exported.streaming_content))
    code, ids = run(files, "sort_entries.py", "entries.csv")
    assert (code, len(ids.split())) == (0, NUMBER + 1), ids
    (files / "ids.txt").write_text(ids)

    code, said = run(files)

    assert (code, ALL in said) == (0, True), said


@pytest.mark.boots("a Python process")
def test_ones_own_entries_are_enough_to_check_their_order(files: Path) -> None:
    write_ids(files, read_ids(files)[2:5])

    code, said = run(files)

    assert (code, ALL in said) == (0, False), said
    assert "not checked: 7 took part" in said


@pytest.mark.boots("a Python process")
@in_one_test(
    ("public", "order"),
    [
        ({"seed": "0" * 64}, range(NUMBER)),
        ({"seed_hash": "0" * 64}, range(NUMBER)),
        ({"entries_hash": "0" * 64}, range(NUMBER)),
        # Two places swapped, one entry twice, and one that took no part.
        ({}, [1, 0, *range(2, NUMBER)]),
        ({}, [0, 0, *range(2, NUMBER)]),
        ({}, [0, 1, 2, NUMBER, *range(4, NUMBER)]),
    ],
)
def test_a_value_that_was_changed_is_found(files: Path, public: dict[str, str], order: Iterable[int]) -> None:
    draw, ids = json.loads((files / "after.json").read_text()), [*read_ids(files), str(uuid4())]
    (files / "changed.json").write_text(json.dumps(draw | public))
    (files / "changed.txt").write_text("\n".join(ids[place] for place in order))

    code, said = run(files, "check_draw.py", "before.json", "changed.json", "changed.txt")

    assert code == 1, said
