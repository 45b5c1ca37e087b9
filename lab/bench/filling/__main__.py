"""`LAB=1 python -m lab.bench.filling --coupons 1000000`: into the MariaDB stack that was started last, whose
state is in `FIRSTCOME_VAR`, as `var/` is."""

import argparse
import os

from lab.bench import filling
from scripts.stack import instance as instances, places

parser = argparse.ArgumentParser(prog="lab.bench.filling", description=__doc__)
parser.add_argument("--coupons", type=int, default=0, help="how many to issue")
parser.add_argument("--orders", type=int, default=0, help="how many to place")
asked = parser.parse_args()
instance = instances.remembered(places.state())
if os.environ.get("LAB") != "1" or instance is None or instance.database != "mariadb":
    parser.error("these rows are for measuring: set LAB=1, beside a MariaDB where no customers buy")
filling.fill(instance, coupons=asked.coupons, orders=asked.orders)
