"""One stack of the shop on this machine: what starts, supervises, finds and ends its processes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Json = dict[str, Any]  # An object as JSON has it
Settings = dict[str, str]  # By their names, which are those of environment variables
Environment = Mapping[str, str]  # The same, which is only read
Lines = list[str]  # Of findings, or of output
Words = Sequence[str]  # Of a command line, or names
Command = Sequence[str | Path]


class SetupError(Exception):
    """Ends the command with exit code 1; its text is the line that is printed, and no traceback: what is
    wrong, with what, and what to do."""


def require(is_so: object, otherwise: str) -> None:
    """Raises SetupError with these words where it isn't so."""
    if not is_so:
        raise SetupError(otherwise)
