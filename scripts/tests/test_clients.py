"""The generated part of the Python client: made when it is missing or old, once, whole, and for the wheel."""

import json
import re
import shutil
import sys
import tarfile
import threading
import tomllib
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from scripts import clients
from scripts.stack import SetupError, places
from scripts.tests.programs import run

pytestmark = pytest.mark.boots("the generator of the client")

DOCUMENT = """
openapi: 3.1.0
info: {title: Small, version: "1"}
paths:
  /things:
    get:
      operationId: get_things
      tags: [things]
      responses: {"204": {description: None}}
"""


@pytest.fixture
def document(tmp_path: Path) -> Path:
    small = tmp_path / "openapi.yaml"
    small.write_text(DOCUMENT)
    return small


def test_a_package_that_is_current_stays_and_one_of_another_document_is_replaced(tmp_path, document):
    folder = tmp_path / "generated"
    clients.generate_python(folder, document)
    first = folder.stat().st_ino
    clients.generate_python(folder, document)
    assert folder.stat().st_ino == first

    document.write_text(DOCUMENT.replace("things", "parts"))
    clients.generate_python(folder, document)
    assert (folder / "api" / "parts" / "get_parts.py").exists()
    assert not (folder / "api" / "things").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["generated", "openapi.yaml"]


def test_several_that_start_at_once_make_it_once_and_each_finds_it_whole(tmp_path, document):
    folder, barrier = tmp_path / "generated", threading.Barrier(4)

    def generate(_: int) -> tuple[int, bool]:
        barrier.wait()
        clients.generate_python(folder, document)
        return folder.stat().st_ino, (folder / "api" / "things" / "get_things.py").exists()

    with ThreadPoolExecutor(4) as threads:
        found = set(threads.map(generate, range(4)))
    assert found == {(folder.stat().st_ino, True)}


def test_a_generator_that_fails_says_why_and_leaves_what_was_there(tmp_path, document):
    folder = tmp_path / "generated"
    clients.generate_python(folder, document)
    before = folder.stat().st_ino
    document.write_text("no: document\n")
    with pytest.raises(SetupError, match="openapi_python_client generate"):
        clients.generate_python(folder, document)
    assert folder.stat().st_ino == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["generated", "openapi.yaml"]


def test_an_sdist_and_the_wheel_that_is_built_of_it_have_the_generated_part(tmp_path):
    pytest.importorskip("setuptools")
    project = tmp_path / "project"
    left_out = shutil.ignore_patterns("generated", "tests", "__pycache__", "*.egg-info")
    for name in ("clients/python", "scripts"):
        shutil.copytree(places.PROJECT / name, project / name, ignore=left_out)
    (project / "docs").mkdir()
    shutil.copy(clients.DOCUMENT, project / "docs")
    build = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    run([sys.executable, "-c", build, str(tmp_path)], project / "clients" / "python")
    [sdist] = tmp_path.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    shutil.rmtree(project)

    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index"]
    run([*pip, str(tmp_path / "unpacked" / sdist.name.removesuffix(".tar.gz"))], tmp_path)

    [wheel] = tmp_path.glob("*.whl")
    packed = set(zipfile.ZipFile(wheel).namelist())
    generated = clients.PYTHON.rglob("*.py")
    package = clients.PYTHON.parents[1]
    assert {str(path.relative_to(package)) for path in generated} <= packed
    assert {"firstcome_client/py.typed", "firstcome_client/shop.py"} <= packed


def test_the_packages_are_built_by_the_generators_that_the_project_pins():
    [pin] = re.findall(rf"^{clients.GENERATOR}==\S+", read("requirements-dev.txt"), re.MULTILINE)
    assert pin in tomllib.loads(read("clients/python/pyproject.toml"))["build-system"]["requires"]
    package, pins = (
        json.loads(read(f"{name}/package.json")) for name in ("clients/typescript", "scripts/npm")
    )
    assert package["dependencies"].items() <= pins["devDependencies"].items()
    assert package["devDependencies"].items() <= pins["devDependencies"].items()


def read(name: str) -> str:
    return (places.PROJECT / name).read_text()
