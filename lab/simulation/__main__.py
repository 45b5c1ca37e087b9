"""`make simulate SECONDS=180 SEED=…`: simulated runs, one seed after the other."""

import argparse
import os
import sys
import time
from contextlib import nullcontext

PLANTED = (
    "early-reply",
    "new-charge-keys",
    "no-recovery",
    "uncancelled",
    "forgotten-action",
    "gate-without-row",
    "tickets-in-redis-alone",
    "silence-is-consent",
    "endless-shared-code",
    "approved-again",
    "overtaking-events",
    "forgotten-failures",
)
wall_clock = time.perf_counter


def main() -> int:
    """The process behind `make simulate`; its exit code."""
    parser = argparse.ArgumentParser(prog="make simulate", description="Simulated runs of the shop.")
    parser.add_argument("--seconds", default="")
    parser.add_argument("--seed", default="")
    parser.add_argument("--planted", default="", choices=["", *PLANTED], help="a defect that is to be found")
    parser.add_argument("--digest", action="store_true", help="print the digest of the seed's trace")
    asked = parser.parse_args()
    _set_up()
    from lab.simulation import planted, trial

    trial.prepare()
    with planted.DEFECTS[asked.planted]() if asked.planted else nullcontext():
        return _run(asked.seed, asked.planted, seconds=float(asked.seconds or 180), shows_digest=asked.digest)


def _run(seed: str, defect: str, *, seconds: float, shows_digest: bool) -> int:
    """Run one seed with a number, as a finding names it, or one run after the other for so many seconds."""
    from lab.simulation import trial

    first, ends_at = seed or str(int.from_bytes(os.urandom(4), "big")), wall_clock() + seconds
    is_single = "." in seed
    runs = orders = steps = 0
    while not runs or not (is_single or wall_clock() > ends_at):
        result = trial.run(first if is_single else f"{first}.{runs}")
        runs, orders, steps = runs + 1, orders + result.orders, steps + result.steps
        if shows_digest:
            print(result.digest, flush=True)
        if result.findings:
            print(*result.last, *(f"FINDING {one}" for one in result.findings), sep="\n")
            command = f"make simulate SEED={result.seed}" + (f" PLANTED={defect}" if defect else "")
            print(f"simulate: run {runs} found this; `{command}` repeats it")
            return 1
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
        "PAYMENT_ACTION_SECONDS": "60",
        "PAYMENT_GIVE_UP_SECONDS": "300",
        "OPEN_ORDERS_PER_ACCOUNT": "10000",
        "OPEN_UNITS_PER_ACCOUNT": "10000",
        "GRANT_LIMIT_AMOUNT": "500",
        "GRANT_DAY_AMOUNT": "2000",
    }
    from lab.simulation import determinism

    determinism.install()
    import django

    django.setup()


if __name__ == "__main__":
    sys.exit(main())
