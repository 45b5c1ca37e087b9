"""`make simulate SECONDS=180 SEED=…`: simulated runs, one seed after the other."""

import os
import sys
import time

import django

from lab.simulation import world
from scripts import options

# Nothing is called at these addresses: the models of `outside` stand in their place.
SETTINGS = {
    "DJANGO_SETTINGS_MODULE": "shop.settings",
    "SECRET_KEY": "simulated-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    "DATABASE_URL": "sqlite:///:memory:",
    "BROKER_URL": "memory://simulated",
    "REDIS_URL": "redis://127.0.0.1:1/0",
    "GATEWAY_URL": "http://127.0.0.1:1",
    "DATA_PLATFORM_URL": "http://127.0.0.1:1",
    "PAYMENT_GATEWAY": "simulator",
    "DEBUG": "0",
    "LOG_LEVEL": "CRITICAL",
    "STAFF_OTP_REQUIRED": "0",
    "INVENTORY_STRATEGY": "pessimistic",
    "PAYMENT_ACTION_SECONDS": "60",
    "PAYMENT_GIVE_UP_SECONDS": "300",
    "OPEN_ORDERS_PER_ACCOUNT": "10000",
    "OPEN_UNITS_PER_ACCOUNT": "10000",
    "GRANT_LIMIT_AMOUNT": "500",
    "GRANT_DAY_AMOUNT": "2000",
}


def main() -> int:
    """Run a seed with a number, as a finding names it, or one after the other; the exit code."""
    os.environ |= SETTINGS
    # Before the shop is imported.
    world.install()
    django.setup()
    from lab.simulation import planted, trial

    parser = options.parser("make simulate", seconds="180", seed="4, or 4.17 for that run alone")
    parser.add_argument("--planted", default="", choices=["", *planted.DEFECTS], help="a defect to be found")
    parser.add_argument("--digest", action="store_true", help="print the digest of each run's trace")
    asked = parser.parse_args()
    trial.prepare()
    if asked.planted:
        planted.plant(asked.planted)
    first = asked.seed or str(int.from_bytes(os.urandom(4), "big"))
    ends_at = time.perf_counter() + float(asked.seconds or 180)
    runs = orders = steps = 0
    while not runs or ("." not in first and time.perf_counter() < ends_at):
        seed = f"{first}.{runs}"
        if "." in first:
            seed = first
        ran = trial.run(seed)
        runs += 1
        orders += ran.orders
        steps += ran.steps
        if asked.digest:
            print(ran.digest, flush=True)
        if ran.findings:
            command = f"make simulate SEED={seed}"
            if asked.planted:
                command += f" PLANTED={asked.planted}"
            print(*ran.last, sep="\n")
            for finding in ran.findings:
                print(f"FINDING {finding}")
            print(f"simulate: run {runs} found this; `{command}` repeats it")
            return 1
    print(f"simulate: {runs} runs, {steps} steps, {orders} orders, no finding; SEED={first}")
    if orders:
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
