"""Makes the generated part of the package first. An sdist has it, but not the document that it is of."""

import subprocess
import sys
import tempfile
from pathlib import Path

import setuptools

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent.parent

if (PROJECT / "scripts" / "clients.py").exists():
    subprocess.run([sys.executable, "-m", "scripts.clients", "--python"], cwd=PROJECT, check=True)
elif not (HERE / "firstcome_client" / "generated").exists():
    sys.exit("firstcome_client.generated is missing: build this in a checkout of the project")
# Not in build/, whose files of an earlier document would get into the wheel.
with tempfile.TemporaryDirectory() as folder:
    setuptools.setup(options={"build": {"build_base": folder}})
