"""`make simulate SECONDS=180 SEED=…`: simulated runs, one seed after the other."""

import argparse
import os
import sys
import time

import django

from lab.simulation import world
from lab.tables import declared

SETTINGS = declared("lab/simulation/environment.toml")


def main() -> int:
    """Run a seed with a number, as a finding names it, or one after the other; the exit code."""
    os.environ |= SETTINGS
    # Before the shop is imported.
    world.install()
    django.setup()
    from lab.simulation import planted, trial

    parser = argparse.ArgumentParser(prog="make simulate", description="Simulated runs of the shop.")
    parser.add_argument("--seconds", default="")
    parser.add_argument("--seed", default="")
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
        seed = first if "." in first else f"{first}.{runs}"
        ran = trial.run(seed)
        runs = runs + 1
        orders = orders + ran.orders
        steps = steps + ran.steps
        if asked.digest:
            print(ran.digest, flush=True)
        if ran.findings:
            command = f"make simulate SEED={seed}" + (f" PLANTED={asked.planted}" if asked.planted else "")
            print(*ran.last, *(f"FINDING {one}" for one in ran.findings), sep="\n")
            print(f"simulate: run {runs} found this; `{command}` repeats it")
            return 1
    print(f"simulate: {runs} runs, {steps} steps, {orders} orders, no finding; SEED={first}")
    if orders:
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
