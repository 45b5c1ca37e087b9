"""The project's clients as one installs them, for programs of tests."""

import sys
import tarfile
from pathlib import Path

from scripts import clients
from scripts.stack import places, system_packages
from scripts.tests import documented, programs

COMPILE = "npx tsc --strict --module nodenext --target es2022 --skipLibCheck --outDir built"
MYPY = f"{sys.executable} -m mypy --strict --follow-imports=silent --config-file="
PIP = f"{sys.executable} -m pip --quiet --disable-pip-version-check"


def install_npm(folder: Path):
    """Install the tarball in the folder, beside the npm packages that it and its programs need."""
    modules = folder / "node_modules"
    modules.mkdir()
    for package in (system_packages.npm_packages() / "node_modules").iterdir():
        (modules / package.name).symlink_to(package)
    (folder / "package.json").write_text('{"type": "module"}')
    with tarfile.open(clients.npm_package(folder / "packages")) as tarball:
        tarball.extractall(modules, filter="data")
    (modules / "package").rename(modules / "firstcome-client")


def install_wheel(folder: Path) -> dict[str, str]:
    """Install the wheel in the folder. Returns the environment in which programs import it."""
    wheel = next(path for path in clients.python_packages(folder / "packages") if path.suffix == ".whl")
    installed = folder / "installed"
    programs.run_lines(f"{PIP} install --no-deps --no-index --target {installed} {wheel}", folder)
    return {"PYTHONPATH": str(installed), "MYPYPATH": str(installed)}


def page(language: str) -> str:
    return (places.PROJECT / "clients" / language / "README.md").read_text()


def run_python(folder: Path, **settings: str):
    """Run the programs of the client's page in an empty folder, and check the types of all that it shows."""
    own = install_wheel(folder)
    for program, output in write_programs(folder, "python", ".py"):
        printed = programs.run([sys.executable, program], folder, **own, **settings)
        assert documented.is_shown_by(output, printed), printed
    programs.run_lines(f"{MYPY} *.py", folder, **own)


def run_typescript(folder: Path, **settings: str):
    """The same of the page of the client for TypeScript."""
    install_npm(folder)
    shown = write_programs(folder, "typescript", ".ts")
    programs.run_lines(f"{COMPILE} --lib es2022,dom,dom.iterable *.ts", folder)
    for program, output in shown:
        printed = programs.run(["node", f"built/{Path(program).stem}.js"], folder, **settings)
        assert documented.is_shown_by(output, printed), printed


def write_programs(folder: Path, language: str, suffix: str) -> list[tuple[str, str]]:
    """Write what the page shows. Returns the names of its programs, and what each prints."""
    found = documented.blocks(page(language))
    shown = []
    for number, block in enumerate(found):
        if block.language == language:
            name = block.title or f"snippet_{number}{suffix}"
            (folder / name).write_text(block.text)
            if block.title:
                following = (after.text for after in found[number:] if after.language == "text")
                shown.append((name, next(following)))
    return shown
