"""`make chaos`: crashes under load, and stores that stay away for long. `make soak`: ten minutes of all calls
of clients and staff, and all faults."""

import argparse
import random
import sys

from lab.chaos.trial import Trial, broker_beside, run_trial
from scripts.stack import own_stack
from scripts.stack.instance import Instance

EVERY_LOAD = {"has_sale": True, "has_customer_actions": True, "has_restrictions": True}
CHAOS = Trial("chaos", "sqlite", 60, (0.3, 3.0), has_outages=True, **EVERY_LOAD)
SOAK = Trial("soak", "mariadb", 600, (2.0, 8.0), has_all_strategies=True, is_measured=True, **EVERY_LOAD)
TRIALS = {trial.name: trial for trial in (CHAOS, SOAK)}


def main() -> int:
    """The process behind `make chaos` and `make soak`; its exit code. An empty option is its default."""
    parser = argparse.ArgumentParser(prog="make", description="Crash the shop under load.")
    parser.add_argument("trial", choices=TRIALS)
    parser.add_argument("--db", default="", help="sqlite or mariadb")
    parser.add_argument("--broker", default="", choices=["", "redis", "rabbitmq"])
    parser.add_argument("--seconds", default="", help="how long faults are made")
    parser.add_argument("--seed", default="", help="to have the same mix of calls and faults again")
    asked = parser.parse_args()
    trial, seed = TRIALS[asked.trial], asked.seed or str(random.SystemRandom().randrange(10**6))
    seconds = int(asked.seconds or trial.seconds)

    def run(instance: Instance) -> int:
        with broker_beside(asked.broker, instance.home) as broker:
            return run_trial(trial, instance, seconds, seed, broker)

    database = asked.db or trial.database
    return own_stack.measure(trial.name, trial.name, run, database=database, keeps_failed=True)


if __name__ == "__main__":
    sys.exit(main())
