"""`make growth`: fills a MariaDB of its own, measures each table, and writes docs/growth.md."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from scripts.bench.growth import page
from scripts.stack import SetupError, children, places, throwaway

ORDERS = 100_000
PAGE = places.PROJECT / "docs" / "growth.md"


def main() -> int:
    parser = argparse.ArgumentParser(prog="make growth", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--orders", default="", help=f"orders, and as many coupons ({ORDERS:,})")
    asked = parser.parse_args()
    orders = asked.orders or str(ORDERS)
    if not orders.isdecimal() or not int(orders):
        parser.error("ORDERS is a number of at least 1")
    return children.run_command("growth", lambda: _run(orders))


def _run(orders: str) -> int:
    beside = places.private_folder(places.state())
    with tempfile.TemporaryDirectory(prefix="growth-", dir=beside, ignore_cleanup_errors=True) as made:
        home, archives = Path(made).resolve() / "servers", Path(made).resolve() / "archives"
        archives.mkdir()
        with throwaway.servers(home) as settings:
            own = os.environ | settings | {"DJANGO_SETTINGS_MODULE": "shop.settings", "LAB": "1"}
            _ran(["manage.py", "migrate", "--verbosity", "0"], own)
            book = str(home / "gateway.sqlite3")
            print(f"filling {orders} orders and as many coupons …", flush=True)
            filled = ["manage.py", "fill_tables", "--orders", orders, "--coupons", orders, "--book", book]
            _ran(filled, own)
            measured = _ran(["-m", "scripts.bench.growth.measuring", orders, str(archives)], own)
    text = page.render(json.loads(measured.splitlines()[-1]))
    PAGE.write_text(text)
    print(text)
    return 0


def _ran(words: list[str], environment: dict[str, str]) -> str:
    ran = subprocess.run(
        [sys.executable, *words], cwd=places.PROJECT, env=environment, stdout=subprocess.PIPE, text=True
    )
    if ran.returncode != 0:
        raise SetupError(f"{' '.join(words)} ended with {ran.returncode}\n{ran.stdout[-2000:]}")
    return ran.stdout


if __name__ == "__main__":
    sys.exit(main())
