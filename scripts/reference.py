"""Writes the sections of `.env.example` and of pages in docs/reference: the API, its codes, the settings, the
commands, the metrics and the personal data. Tests write rights.md and access.md
(foundation/tests/reference_tables.py).
"""

import importlib
import re
import sys
import textwrap
import tomllib
from argparse import Action
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import django
import yaml
from django.core.management import BaseCommand, get_commands, load_command_class

from scripts import alert_rules
from scripts.stack import places

SECTIONS = tomllib.loads((places.PROJECT / "shop/settings.toml").read_text())
TEXTS = tomllib.loads((places.PROJECT / "shop/openapi.toml").read_text())
METHODS = ("get", "post", "patch", "put", "delete")
# What any call with a body, a token or a key may return.
EVERYWHERE = """
idempotency_key_in_flight idempotency_key_invalid idempotency_key_missing idempotency_key_reused invalid
malformed_json not_authenticated overloaded request_timeout token_invalid too_large unavailable
unsupported_media_type
"""


def main() -> int:
    django.setup()
    is_check = "--check" in sys.argv
    differing = []
    pages = {
        ".env.example": _example,
        "docs/reference/api.md": _api_page,
        "docs/reference/codes.md": _codes_page,
        "docs/reference/settings.md": _settings_page,
        "docs/reference/commands.md": _commands_page,
        "docs/reference/metrics.md": _metrics_page,
        "docs/reference/personal-data.md": _personal_data_page,
    }
    for name, make in pages.items():
        path = places.PROJECT / name
        kept = path.read_text()
        # What stands before the first section is written by hand.
        made = re.split("^(?=## |# ---)", kept, maxsplit=1, flags=re.MULTILINE)[0] + make()
        if not is_check:
            path.write_text(made)
        elif kept != made:
            differing.append(name)
    if differing:
        print(f"{', '.join(differing)} differ from the code: run `make generate`")
        return 1
    return 0


def _table(*columns: str, rows: Iterable[Iterable[str]]) -> str:
    lines: list[Iterable[str]] = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines).replace("|  |", "| |")


def _api_page() -> str:
    document = yaml.safe_load((places.PROJECT / "docs/openapi.yaml").read_text())
    rows = defaultdict[str, list[Iterable[str]]](list)
    for path, item in document["paths"].items():
        for method in filter(item.__contains__, METHODS):
            rows[item[method]["tags"][0]].append(_row(f"`{method.upper()} {path}`", item[method]))
    parts = []
    for tag, found in rows.items():
        title = tag.replace("-", " ").capitalize()
        table = _table("call", "what", "who", "answers", "refusals", rows=found)
        parts.append(f"## {title}\n\n{table}")
    return "\n".join(parts)


def _row(name: str, call: Any) -> list[str]:
    first = call.get("description", "").partition("\n\n")[0].replace("\n", " ")
    what = call.get("summary") or first
    parameters = call.get("parameters", [])
    named = {one["name"] for one in parameters if one.get("required") or one["name"] == "Prefer"}
    caller = "signed in"
    security = call.get("security")
    if not security or {} in security:
        caller = "anyone"
    caller = "staff" if "(staff)" in f"{what} {first}" else caller
    who = [caller, *["key"] * ("Idempotency-Key" in named), *["wait"] * ("Prefer" in named)]
    answers = ", ".join(status for status in sorted(call["responses"]) if status < "400")
    refusals = []
    for status, codes in sorted(refusal_codes(call).items()):
        own = sorted(codes.difference(EVERYWHERE.split()))
        if own:
            refusals.append(f"{status} {', '.join(f'`{code}`' for code in own)}")
    return [
        name,
        what.removesuffix(".").removesuffix(" (staff)"),
        ", ".join(who),
        answers,
        " · ".join(refusals),
    ]


def _codes_page() -> str:
    sections = []
    for section, about in TEXTS["codes"].items():
        rows = [(f"`{code}`", str(status), *texts) for code, (status, *texts) in about.items()]
        table = _table("code", "status", "meaning", "what to do", rows=rows)
        sections.append(f"## {section}\n\n{table}")
    for section, meanings in TEXTS["other_codes"].items():
        rows = [(f"`{code}`", meaning) for code, meaning in meanings.items()]
        table = _table("code", "meaning", rows=rows)
        sections.append(f"## {section}\n\n{table}")
    return "\n".join(sections)


def refusal_codes(call: Any) -> dict[str, set[str]]:
    result = {}
    for status, answer in call["responses"].items():
        problem = answer.get("content", {}).get("application/problem+json")
        if problem:
            result[status] = set(problem["schema"]["properties"]["code"]["enum"])
    return result


def _example() -> str:
    parts = []
    for section, settings in SECTIONS.items():
        part = f"# --- {section} ---\n"
        for name, one in settings.items():
            what = textwrap.indent(one["what"], "# ")
            part += f"{what}\n#{name}={one['default']}\n"
        parts.append(part)
    return "\n".join(parts)


def _settings_page() -> str:
    return "\n".join(
        f"## {section}\n\n" + _table("setting", "default", "what", rows=_setting_rows(settings))
        for section, settings in SECTIONS.items()
    )


def _setting_rows(settings: Any) -> Iterator[Iterable[str]]:
    for name, one in settings.items():
        yield f"`{name}`", one["default"] and f"`{one['default']}`", _as_cell(one["what"])


def _commands_page() -> str:
    targets = re.findall(
        r"^([a-z-]+):.*?## (.+)$", (places.PROJECT / "Makefile").read_text(), flags=re.MULTILINE
    )
    rows = [(f"`make {name}`", _as_cell(about)) for name, about in targets]
    own = sorted(name for name, app in get_commands().items() if app in places.APPS)
    of_make = f"## Targets of make\n\n{_table('command', 'does', rows=rows)}\n"
    return f"{of_make}## Management commands\n\n" + "\n".join(map(_section, own))


def _section(name: str) -> str:
    command = load_command_class(get_commands()[name], name)
    # Django gives every command options, which are left out.
    common = set[str]()
    for one in BaseCommand().create_parser("", "")._actions:
        common.update(one.option_strings)
    actions = command.create_parser("manage.py", name)._actions
    rows = []
    for action in actions:
        if common.isdisjoint(action.option_strings):
            rows.append(_option(action))
    table = ""
    if rows:
        table = f"\n{_table('argument', 'what', rows=rows)}"
    return f"### `{name}`\n\n{_as_text(command.help)}\n{table}"


def _option(action: Action) -> tuple[str, str]:
    metavar = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    name = metavar + (" …" if action.nargs in ("*", "+") else "")
    default = ""
    if action.option_strings:
        name = action.option_strings[-1] + (f" {metavar}" if action.nargs != 0 else "")
    if action.nargs != 0 and action.default not in (None, "", []) and "default" not in str(action.help):
        default = f" (default: {action.default})"
    return f"`{name}`", _as_cell((action.help or "").replace("%%", "%") + default)


def _metrics_page() -> str:
    from foundation.observability import gauges
    from foundation.tests import metrics_catalogue

    read = {name for group in gauges._groups.values() for name in group.helps}
    rows = []
    for one in metrics_catalogue.definitions().values():
        rows.append(
            (
                f"`{one.name}`",
                one.kind,
                _names(one.labels),
                _as_cell(one.help),
                "state" if one.name in read else "",
            )
        )
    for rule in alert_rules.rules():
        name = rule.get("record", "")
        if name.startswith("firstcome_"):
            kind = "gauge"
            if name.endswith("_total"):
                kind = "counter"
            rows.append(
                (f"`{name}`", kind, "", f"`{' '.join(rule['expr'].split())}`".replace("|", "\\|"), "rule")
            )
    return f"## Every metric\n\n{_table('name', 'type', 'labels', 'meaning', 'read', rows=rows)}"


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _personal_data_page() -> str:
    from accounts.personal_data import registry

    data = registry.personal_data()
    of_accounts = _table(
        *("model", "leads to the account by", "read by", "kept", "on erasure", "left out of the export"),
        rows=((label, *_of_model(label, entry)) for label, entry in data.items()),
    )
    others = []
    for label, entry in registry.REGISTRY.items():
        if label not in data:
            others.append((label, str(entry)))
    of_none = _table("model", "because", rows=others)
    return f"## Rows of accounts\n\n{of_accounts}\n## Rows of no account\n\n{of_none}"


def _of_model(label: str, entry: Any) -> tuple[str, str, str, str, str]:
    # Memberships and rights have no pages of their own: they are on the account's.
    permission = ("auth.user" if label.startswith("auth.User_") else label.lower()).replace(".", ".view_")
    rights = importlib.import_module("foundation.migrations.0002_groups_of_staff").GROUPS
    readers = []
    for group, permissions in rights.items():
        if permission in permissions:
            readers.append(group)
    path = entry.path
    if entry.rows is None:
        path = f"`{entry.path}`"
    return (
        path,
        ", ".join(readers) or "superusers",
        entry.kept.replace("(#", "(../privacy.md#"),
        entry.erasure.value,
        _names(sorted(entry.secrets)) or "-",
    )


def _as_cell(text: str) -> str:
    text = _as_text(text).replace("|", "\\|")
    if text.endswith(".."):
        return text
    return text.removesuffix(".")


def _as_text(text: str) -> str:
    """One line, in which what looks like markup or a tag is shown as it is."""
    return " ".join(text.split()).replace("<", "&lt;").replace("*", "\\*")


if __name__ == "__main__":
    sys.exit(main())
