"""`make scale-lint`: record the statements of some tests, and write into docs/scale.md what the rules find.

`python -m scripts.scale.statements file.json` prints what the rules find
in the statements of a file that the plugin `scripts.scale.statements.recording` wrote.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import django

from scripts.bench.report import documents
from scripts.scale.statements import lint, recording, rules
from scripts.scale.statements.lint import Recorded
from scripts.stack import SetupError, children, places, throwaway

PAGE = places.PROJECT / "docs" / "scale.md"
STATEMENTS = ("<!-- statements of make scale-lint -->\n", "<!-- end of statements -->")
TRANSACTIONS = ("<!-- transactions of make scale-lint -->\n", "<!-- end of transactions -->")
CONSTRAINTS = ("<!-- constraints of make scale-lint -->\n", "<!-- end of constraints -->")
MODULES = (
    "coupons/tests/test_issuing.py",
    "coupons/tests/test_pool.py",
    "coupons/tests/test_redemption.py",
    "orders/tests/test_checkout.py",
    "orders/tests/test_saga.py",
    "orders/tests/test_refunding.py",
    "inventory/tests/test_reservations.py",
    "payments/tests/test_ledger.py",
)
"""Their statements are those of issuing, placing, paying and refunding."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="make scale-lint", description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, nargs="?", help="print what the rules find in these statements")
    parser.add_argument("--modules", default="", help="the test modules to record, separated by spaces")
    asked = parser.parse_args()
    if asked.file:
        found = lint.findings(lint.read(asked.file).statements)
        print("\n".join(f"{name}: {', '.join(tables)}" for name, tables in found.items()))
        return 0
    modules = asked.modules.split() or MODULES
    return children.run_command("make scale-lint: failed", lambda: _write_page(modules))


def _write_page(modules: Sequence[str]) -> int:
    with tempfile.TemporaryDirectory(prefix="firstcome-test-", ignore_cleanup_errors=True) as made:
        with throwaway.servers(Path(made).resolve()) as settings:
            environment = os.environ | settings | {"DJANGO_SETTINGS_MODULE": "shop.settings"}
            recorded = record(modules, environment)
        os.environ.update(environment)
        django.setup()
        for marks, text in pages(recorded).items():
            documents.put_inside(PAGE, marks, text)
    print(f"{len(recorded.statements)} statements, {len(recorded.transactions)} transactions: see {PAGE}")
    return 0


def record(modules: Sequence[str], environment: Mapping[str, str]) -> Recorded:
    """The statements of these test modules, run in this environment. Raises SetupError."""
    with tempfile.TemporaryDirectory(prefix="firstcome-statements-") as folder:
        file = Path(folder) / "recorded.json"
        words = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "scripts.scale.statements.recording",
            "--reuse-db",
        ]
        ran = subprocess.run(
            [*words, *modules],
            cwd=places.PROJECT,
            env={**environment, recording.FILE: str(file)},
            capture_output=True,
            text=True,
            check=False,
        )
        if ran.returncode != 0:
            raise SetupError(f"the recorded tests ended with {ran.returncode}:\n{ran.stdout}{ran.stderr}")
        return lint.read(file)


def pages(recorded: Recorded) -> dict[tuple[str, str], str]:
    """What stands between the marks of docs/scale.md."""
    found = lint.findings(recorded.statements)
    statements = [
        (name, _listed(tables), rules.RULES[name].vitess, rules.RULES[name].tidb, rules.RULES[name].takes)
        for name, tables in found.items()
    ]
    spanning = [(families, _listed(tables)) for families, tables in lint.transactions(recorded)]
    foreign_keys, unique_values = lint.unenforced()
    constraints = [(f"`{column}` refers to `{table}`", "foreign key") for column, table in foreign_keys]
    constraints += [(f"`{table}`: {columns}", "unique") for table, columns in unique_values]
    return {
        STATEMENTS: documents.markdown(
            ("statement", "of", "Vitess", "TiDB", "what it would take"), statements
        ),
        TRANSACTIONS: documents.markdown(("families in one transaction", "tables"), spanning),
        CONSTRAINTS: documents.markdown(("constraint", "kind"), constraints),
    }


def _listed(tables: Sequence[str]) -> str:
    return ", ".join(f"`{table}`" for table in tables)


if __name__ == "__main__":
    sys.exit(main())
