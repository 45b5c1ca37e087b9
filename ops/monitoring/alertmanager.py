"""Starts Alertmanager with the receivers' addresses from the environment, which it does not read by itself.

`python alertmanager.py CONFIGURATION ARGUMENT …`: the first is ops/alertmanager/alertmanager.yml, the others
go to Alertmanager. An address is a secret: it is written into a file in the folder for temporary files that
only this user can read.
"""

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

PLACES = {"http://pager.invalid/": "PAGER_WEBHOOK_URL", "http://tickets.invalid/": "TICKET_WEBHOOK_URL"}
"""What stands in the configuration, and the variable that has the address."""


def configuration(text: str, environment: Mapping[str, str]) -> str:
    """The text with the addresses, and without the lines whose variable is empty."""
    return "\n".join([*_lines(text, environment), ""])


def _lines(text: str, environment: Mapping[str, str]) -> Iterator[str]:
    for line in text.splitlines():
        place = next((place for place in PLACES if place in line), None)
        if place is None:
            yield line
        elif address := environment.get(PLACES[place], ""):
            # JSON's quotes are YAML's: an address may hold what YAML reads otherwise.
            yield line.replace(f'"{place}"', json.dumps(address))


def main() -> None:
    source, *arguments = sys.argv[1:]
    descriptor, path = tempfile.mkstemp(prefix="alertmanager-", suffix=".yml")
    with os.fdopen(descriptor, "w") as file:
        file.write(configuration(Path(source).read_text(), os.environ))
    program = "prometheus-alertmanager"
    os.execvp(program, [program, f"--config.file={path}", *arguments])


if __name__ == "__main__":
    main()
