"""`make chaos`: crashes under load, and stores that stay away for long. The trial is in `chaos.trial`."""

import sys

from lab.chaos import trial

CHAOS = trial.Trial(
    name="chaos",
    database="sqlite",
    seconds=60,
    has_outages=True,
    pauses=(0.3, 3.0),
    has_sale=True,
    has_customer_actions=True,
    has_restrictions=True,
)

if __name__ == "__main__":
    sys.exit(trial.main(CHAOS))
