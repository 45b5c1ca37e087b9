"""`make generate ONLY=clients`: what is generated of clients/, and the packages of both, in var/clients/.

Git ignores all of it. `--python` makes the sources of the Python package alone, which needs none of npm's
packages: the wheel's build calls it.
"""

import fcntl
import hashlib
import os
import re
import shutil
import sys
import tempfile
from importlib import metadata, resources
from pathlib import Path

from scripts.stack import Command, SetupError, children, places, system_packages

DOCUMENT = places.PROJECT / "docs/openapi.yaml"
CLIENTS = places.PROJECT / "clients"
PYTHON = CLIENTS / "python/firstcome_client/generated"
TYPESCRIPT = CLIENTS / "typescript/firstcome.ts"
GENERATOR = "openapi-python-client"
# What differs of the generator's templates: a client reads what an older or a later release answers too.
TEMPLATES = CLIENTS / "python/templates"
MODEL = "model.py.jinja"
# What its parts are replaced by: a field that isn't there is UNSET, is read as such, and not written.
LENIENT = {
    """\
    {% if prop_template.construct %}
        {{ prop_template.construct(property, property_source) | indent(8) }}
    {% else %}
        {{ property.python_name }} = {{ property_source }}
    {% endif %}
""": """\
    {% if property.required %}
        {{ property.python_name }}: Any = UNSET
        if "{{ property.name | in_double_quote_literal }}" in d:
    {% endif %}
    {% set deeper = 4 if property.required else 0 %}
    {% if prop_template.construct %}
        {{ " " * deeper }}{{ prop_template.construct(property, property_source) | indent(8 + deeper) }}
    {% else %}
        {{ " " * deeper }}{{ property.python_name }} = {{ property_source }}
    {% endif %}
""",
    """\
{{ _transform_property(property, "self." + property.python_name) }}
""": """\
{{ property.python_name }}: Any = UNSET
if self.{{ property.python_name }} is not UNSET:
    {{ _transform_property(property, "self." + property.python_name) | indent(4) }}
""",
    "return field_dict\n": "return {name: one for name, one in field_dict.items() if one is not UNSET}\n",
}
UNPACKED = shutil.ignore_patterns("node_modules", "built", "*.egg-info", "__pycache__")
# The client for asyncio is written by hand, the other one made of it, word by word.
SYNCHRONOUS = {
    r"Awaitable\[((?:[^\[\]]|\[[^\[\]]*\])*)\]": r"\1",
    r"\bAwaitable, ": "",
    r"\basync (?=def|with|for)": "",
    # A thread is not cancelled.
    r"\basyncio\.shield\(asyncio\.create_task\((.*)\)\)": r"\1",
    r"\bawait ": "",
    r"\bAsync(?=[A-Z])": "",
    r"\b__a(?=enter__|exit__)": "__",
    r"\baclose\b": "close",
    r"\basyncio\.sleep\b": "time.sleep",
    r"\basyncio\.Lock\b": "threading.Lock",
    r"\bimport asyncio\b": "import threading",
    r"\basyncio(?=\(|_detailed\()": "sync",
    r"\bset_async_httpx_client\b": "set_httpx_client",
    r"\basynchronous\b": "synchronous",
}
# Not the project's own settings: the result may not depend on the folder in which it is made.
CONFIG = """
post_hooks:
  - ruff check --isolated --no-cache --quiet --line-length=110 --select=F401,F811,I --fix --exit-zero .
  - ruff format --isolated --no-cache --quiet --line-length=110 .
"""


def main() -> int:
    make_python()
    if "--python" not in sys.argv:
        places.write_whole(TYPESCRIPT, typescript_types())
        folder = places.state() / "clients"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for package in [*python_packages(folder), npm_package(folder)]:
            children.say(f"{package} ({package.stat().st_size:,} bytes)")
    return 0


def make_python() -> None:
    """Make what isn't in git of the Python package. Raises SetupError."""
    generate_python()
    made = PYTHON.with_name("synchronous")
    made.mkdir(exist_ok=True)
    for source in PYTHON.with_name("asynchronous").glob("*.py"):
        places.write_whole(made / source.name, synchronous(source.read_text()))


def synchronous(text: str) -> str:
    """The module for threads that a module for asyncio makes."""
    for words, other in SYNCHRONOUS.items():
        text = re.sub(words, other, text)
    return text


def generate_python(folder: Path = PYTHON, document: Path = DOCUMENT) -> None:
    """Make the package, unless the folder has the one of this document and generator.

    Processes that call it at once make it once, and none finds half of it. Raises SetupError.
    """
    inputs = [document, Path(__file__), *sorted(TEMPLATES.rglob("*.jinja"))]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in inputs)).hexdigest()
    made_from = f"{digest} {GENERATOR} {metadata.version(GENERATOR)}\n"
    # The file says which document and generator the package is of.
    stamp = folder / "made_from"
    lock = os.open(folder.parent, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.exists() and stamp.read_text() == made_from:
            return
        with tempfile.TemporaryDirectory(prefix=".generated-", dir=folder.parent) as beside:
            config, made, templates = (Path(beside, name) for name in ("config.yml", "made", "templates"))
            config.write_text(CONFIG)
            shutil.copytree(TEMPLATES, templates)
            (templates / MODEL).write_text(_lenient_model())
            paths = f"--path={document}", f"--output-path={made}", f"--config={config}"
            generate = ["generate", "--meta=none", f"--custom-template-path={templates}", *paths]
            _run([sys.executable, "-m", "openapi_python_client", *generate])
            (made / stamp.name).write_text(made_from)
            if folder.exists():
                folder.rename(Path(beside, "old"))
            made.rename(folder)
    finally:
        os.close(lock)


def _lenient_model() -> str:
    """The generator's template of a body, but that a field which an older shop lacks may be missing."""
    template = (resources.files("openapi_python_client") / "templates" / MODEL).read_text()
    for strict, lenient in LENIENT.items():
        if strict not in template:
            raise SetupError(f"{MODEL} of {GENERATOR} is another one: change LENIENT in {__file__}")
        template = template.replace(strict, lenient)
    return template


def python_packages(folder: Path) -> list[Path]:
    """Build the sdist and the wheel into the folder. Raises SetupError."""
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as copies:
        # In a copy, so that a build leaves nothing in the sources, nor finds what an earlier one left.
        python = shutil.copytree(CLIENTS / "python", Path(copies, "python"), ignore=UNPACKED)
        build = "from sys import argv; from setuptools import build_meta as build"
        build += "; build.build_sdist(argv[1]); build.build_wheel(argv[1])"
        _run([sys.executable, "-c", build, folder], python)
    return sorted(folder.glob("firstcome_client-*"))


def npm_package(folder: Path) -> Path:
    """Build the tarball for npm into the folder. Raises SetupError."""
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as copies:
        typescript = Path(
            shutil.copytree(CLIENTS / "typescript", Path(copies, "typescript"), ignore=UNPACKED)
        )
        (typescript / TYPESCRIPT.name).write_text(typescript_types())
        (typescript / "node_modules").symlink_to(system_packages.npm_packages() / "node_modules")
        _run(["npm", "run", "--silent", "compile"], typescript)
        _run(["npm", "pack", "--silent", "--ignore-scripts", f"--pack-destination={folder}"], typescript)
    [tarball] = folder.glob("firstcome-client-*.tgz")
    return tarball


def typescript_types() -> str:
    """What openapi-typescript makes of the document. Raises SetupError."""
    return _run([system_packages.npm_packages() / "node_modules/.bin/openapi-typescript", DOCUMENT])


def _run(command: Command, folder: Path = places.PROJECT) -> str:
    """The output of a program, which finds those of the environment. Raises SetupError when it fails."""
    own = os.environ | {
        "NO_COLOR": "1",
        "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}",
    }
    return children.printed(children.run(command, within_seconds=600, environment=own, folder=folder))


if __name__ == "__main__":
    children.end_with(main)
