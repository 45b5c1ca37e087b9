"""`python3 -m lab COMMAND …`: compares, measures and breaks the shop. Without a command it lists them."""

import json
import os
import subprocess
import sys

from scripts.stack import places

# What bootstrap.py installs for it, its module and first arguments, and what it does. As JSON, because a
# Python without `tomllib` has to get as far as bootstrap.py, which finds a newer one.
COMMANDS = json.loads((places.PROJECT / "lab/commands.json").read_text())


def main() -> None:
    name, *words = sys.argv[1:] or [""]
    if name not in COMMANDS:
        lines = [f"  {one:<10} {about}" for one, (_, _, about) in COMMANDS.items()]
        print("\n".join(["python3 -m lab COMMAND --help", *lines]))
        sys.exit(0 if name in ("", "--help") else 2)
    purpose, command, about = COMMANDS[name]
    if "--help" in words:
        print(f"python3 -m lab {name}: {about}\n", flush=True)
    if name == "status" and "--help" in words:
        return
    bootstrap = subprocess.run([sys.executable, places.PROJECT / "scripts/bootstrap.py", purpose])
    if bootstrap.returncode:
        sys.exit(bootstrap.returncode)
    python = f"{places.PROJECT}/.venv/bin/python"
    os.execv(python, [python, "-m", *command.split(), *words])


if __name__ == "__main__":
    main()
