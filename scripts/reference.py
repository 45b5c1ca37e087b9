"""Writes the generated pages of docs/reference: the API, the settings and the commands."""

import argparse
import re
import sys
from argparse import Action
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import django
import yaml
from django.core.management import get_commands, load_command_class

from scripts.stack import places

FOLDER = places.PROJECT / "docs" / "reference"
METHODS = ("get", "post", "patch", "put", "delete")
# Options that Django gives to every command.
OF_EVERY_COMMAND = {
    "--help",
    "--version",
    "--verbosity",
    "--settings",
    "--pythonpath",
    "--traceback",
    "--no-color",
    "--force-color",
    "--skip-checks",
}
API_PAGE = """<!-- Generated: `make reference` writes this page. -->

# API

Every call of the HTTP API, as [openapi.yaml](../openapi.yaml) describes it. That file has the fields, the
headers and examples, and `/api/docs/` of a running shop tries calls out; [generate a
client](../howto/generate-a-client.md) says how programs use it. Errors are problems (RFC 9457):
[codes](codes.md) says what each `code` means, and which of them every call may return; those are left out
here. Calls with *key* require the header `Idempotency-Key`, those with *wait* obey `Prefer: wait=N`.

"""
SETTINGS_PAGE = """<!-- Generated: `make reference` writes this page. -->

# Settings

Every setting of the shop: environment variables, or lines of a file `.env` in the project's folder, which
exported variables override. `shop/settings.py` reads and checks them when a process starts, and a wrong one
stops it with its name. This page is made from `.env.example`; [operations](../operations.md#settings) says
more about those that need a decision.

"""
COMMANDS_PAGE = """<!-- Generated: `make reference` writes this page. -->

# Commands

## Targets of make

Words in capitals are variables: `make run PORT=9000`.

| command | does |
| --- | --- |
{targets}
## Management commands

Beside `make run` as `make manage ARGS="audit --json"`, in containers as `docker compose exec web python
manage.py audit --json`. Django's own commands and options are there too (`--help`);
[operations](../operations.md#commands) says when to use which.

"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="make reference")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a page would change")
    is_check = parser.parse_args().check
    django.setup()
    differing = {name: text for name, text in pages().items() if _read(name) != text}
    if is_check and differing:
        print(f"{', '.join(differing)} in docs/reference differ from the code: run `make reference`")
        return 1
    for name, text in differing.items():
        (FOLDER / name).write_text(text)
    return 0


def pages() -> dict[str, str]:
    """The text of each generated page, by its name."""
    makers: dict[str, Callable[[], str]] = {
        "api.md": api_page,
        "settings.md": settings_page,
        "commands.md": commands_page,
    }
    return {name: make() for name, make in makers.items()}


def api_page() -> str:
    """Every call of the API, with who may make it and its answers."""
    document = yaml.safe_load((places.PROJECT / "docs" / "openapi.yaml").read_text())
    rows: dict[str, list[str]] = {}
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                rows.setdefault(item[method]["tags"][0], []).append(_call_row(method, path, item[method]))
    tables = [
        f"## {tag.replace('-', ' ').capitalize()}\n\n| call | what | who | answers | refusals |\n"
        f"| --- | --- | --- | --- | --- |\n{''.join(found)}"
        for tag, found in rows.items()
    ]
    return API_PAGE + "\n".join(tables)


def _call_row(method: str, path: str, call: Any) -> str:
    what = call.get("summary") or call.get("description", "").partition("\n\n")[0].replace("\n", " ")
    named = {parameter["name"] for parameter in call.get("parameters", [])}
    who = [_caller(call), *["key"] * ("Idempotency-Key" in named), *["wait"] * ("Prefer" in named)]
    answers = [status for status in sorted(call["responses"]) if status < "400"]
    refusals = [
        f"{status} {', '.join(f'`{code}`' for code in sorted(codes - EVERYWHERE))}"
        for status, codes in sorted(refusal_codes(call).items())
        if codes - EVERYWHERE
    ]
    cells = [
        f"`{method.upper()} {path}`",
        what.removesuffix(".").removesuffix(" (staff)"),
        ", ".join(who),
        ", ".join(answers),
        " · ".join(refusals),
    ]
    return f"| {' | '.join(cells)} |\n".replace("|  |", "| |")


def refusal_codes(call: Any) -> dict[str, set[str]]:
    """The codes of a call's problems, by status."""
    contents = {
        status: response.get("content", {}).get("application/problem+json")
        for status, response in call["responses"].items()
    }
    return {
        status: set(content["schema"]["properties"]["code"]["enum"])
        for status, content in contents.items()
        if content
    }


# What any call with a body, a token or a key may return.
EVERYWHERE = {
    "idempotency_key_in_flight",
    "idempotency_key_invalid",
    "idempotency_key_missing",
    "idempotency_key_reused",
    "invalid",
    "malformed_json",
    "not_authenticated",
    "overloaded",
    "request_timeout",
    "token_invalid",
    "too_large",
    "unavailable",
    "unsupported_media_type",
}


def _caller(call: Any) -> str:
    if "(staff)" in call.get("summary", "") + call.get("description", "").partition("\n")[0]:
        return "staff"
    security = call.get("security", [])
    return "anyone" if not security or {} in security else "signed in"


def settings_page() -> str:
    """Every setting of .env.example with its default, its text, and its section."""
    tables = []
    for section, text in _sections((places.PROJECT / ".env.example").read_text()):
        rows = "".join(
            f"| `{name}` | {f'`{default}`' if default else ''} | {about} |\n".replace("|  |", "| |")
            for name, default, about in _settings_of(text)
        )
        tables.append(f"## {section}\n\n| setting | default | what |\n| --- | --- | --- |\n{rows}")
    return SETTINGS_PAGE + "\n".join(tables)


def _sections(example: str) -> Iterator[tuple[str, str]]:
    parts = re.split(r"^# --- (.+?) ---$", example, flags=re.MULTILINE)
    yield from zip(parts[1::2], parts[2::2], strict=True)


def _settings_of(text: str) -> Iterator[tuple[str, str, str]]:
    """Name, default and comment of each setting; several below one comment share it."""
    comment: list[str] = []
    is_named = False
    for line in text.splitlines():
        if found := re.fullmatch(r"#([A-Z_]+)=(.*)", line):
            is_named = True
            yield found[1], found[2], _as_cell(" ".join(comment))
        elif line.startswith("# "):
            comment = [*([] if is_named else comment), line[2:]]
            is_named = False


def commands_page() -> str:
    """Every target of make and every management command of the shop, with its arguments."""
    targets = re.findall(
        r"^([a-z-]+):.*?## (.+)$", (places.PROJECT / "Makefile").read_text(), flags=re.MULTILINE
    )
    rows = "".join(f"| `make {name}` | {_as_cell(about)} |\n" for name, about in targets)
    commands = "\n".join(_command_section(name) for name in own_commands())
    return COMMANDS_PAGE.format(targets=rows) + commands


def own_commands() -> list[str]:
    """The names of the shop's own management commands."""
    return sorted(name for name, app in get_commands().items() if app in places.APPS)


def _command_section(name: str) -> str:
    command = load_command_class(get_commands()[name], name)
    parser = command.create_parser("manage.py", name)
    rows = "".join(_option_row(action) for action in parser._actions if _is_own(action))
    table = f"\n| argument | what |\n| --- | --- |\n{rows}" if rows else ""
    return f"### `{name}`\n\n{_as_text(command.help)}\n{table}"


def _is_own(action: Action) -> bool:
    return not OF_EVERY_COMMAND & set(action.option_strings)


def _option_row(action: Action) -> str:
    metavar = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    takes_value = action.nargs != 0
    if action.option_strings:
        name = action.option_strings[-1] + (f" {metavar}" if takes_value else "")
    else:
        name = metavar + (" …" if action.nargs in ("*", "+") else "")
    is_said = takes_value and action.default not in (None, "", [])
    default = f" (default: {action.default})" if is_said and "default" not in str(action.help) else ""
    return f"| `{name}` | {_as_cell((action.help or '').replace('%%', '%') + default)} |\n".replace(
        "|  |", "| |"
    )


def _as_cell(text: str) -> str:
    text = _as_text(text).replace("|", "\\|")
    return text if text.endswith("..") else text.removesuffix(".")


def _as_text(text: str) -> str:
    """One line, in which what looks like markup or a tag is shown as it is."""
    return " ".join(text.split()).replace("<", "&lt;").replace("*", "\\*")


def _read(name: str) -> str:
    path: Path = FOLDER / name
    return path.read_text() if path.exists() else ""


if __name__ == "__main__":
    sys.exit(main())
