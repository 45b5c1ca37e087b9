"""`make simulate SECONDS=180 SEED=…`: simulated runs, one seed after the other.

`SEED` names the first run alone; without it runs begin with a new seed and go on for `SECONDS`. Ends with exit
code 1 at the first finding, with the command that repeats it.
"""

import argparse
import os
import sys
import time

wall_clock = time.perf_counter


def main() -> int:
    """The process behind `make simulate`; its exit code."""
    parser = argparse.ArgumentParser(prog="make simulate", description="Simulated runs of the shop.")
    parser.add_argument("--seconds", default="")
    parser.add_argument("--seed", default="")
    parser.add_argument("--digest", action="store_true", help="print the digest of the seed's trace")
    asked = parser.parse_args()
    first = asked.seed or str(int.from_bytes(os.urandom(4), "big"))
    _set_up()
    from scripts.simulation import trial

    trial.prepare()
    ends_at, runs, orders, steps = wall_clock() + float(asked.seconds or 180), 0, 0, 0
    while True:
        result = trial.run(f"{first}.{runs}" if not (asked.seed and "." in first) else first)
        runs, orders, steps = runs + 1, orders + result.orders, steps + result.steps
        if asked.digest:
            print(result.digest)
        if result.findings:
            print(*result.last, *(f"FINDING {one}" for one in result.findings), sep="\n")
            print(f"simulate: make simulate SEED={result.seed} repeats it")
            return 1
        if (asked.seed and "." in first) or wall_clock() > ends_at:
            break
    print(f"simulate: {runs} runs, {steps} steps, {orders} orders, no finding; SEED={first}")
    return 0


def _set_up() -> None:
    """The settings of the simulation, and the seeded sources of time and chance."""
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "shop.settings",
        "DATABASE_URL": "sqlite:///:memory:",
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "BROKER_URL": "memory://simulated",
        "SECRET_KEY": "simulated-" + "0123456789abcdef" * 4,
        "DEBUG": "0",
        "STAFF_OTP_REQUIRED": "0",
        "PAYMENT_GATEWAY": "simulator",
        "GATEWAY_URL": "http://127.0.0.1:1",
        "DATA_PLATFORM_URL": "http://127.0.0.1:1",
        "INVENTORY_STRATEGY": "pessimistic",
        "LOG_LEVEL": "CRITICAL",
        "OPEN_ORDERS_PER_ACCOUNT": "10000",
        "OPEN_UNITS_PER_ACCOUNT": "10000",
    }
    from scripts.simulation import determinism

    determinism.install()
    import django

    django.setup()


if __name__ == "__main__":
    sys.exit(main())
