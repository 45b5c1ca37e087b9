"""Management commands for tests: what they print, and how they end."""

import json
from io import StringIO
from typing import Any

from django.core.management import call_command


def run(name: str, *arguments: str) -> tuple[int, str]:
    """The exit code and the output of a management command."""
    output = StringIO()
    try:
        call_command(name, *arguments, stdout=output)
    except SystemExit as ended:
        return int(ended.code or 0), output.getvalue()
    return 0, output.getvalue()


def run_json(name: str, *arguments: str) -> tuple[int, Any]:
    """The exit code and the JSON of a management command that takes `--json`."""
    code, output = run(name, *arguments, "--json")
    return code, json.loads(output)
