"""`make soak`: ten minutes of all calls of clients and staff, and all faults. The trial is in
`chaos.trial`."""

import sys

from lab.chaos import trial

SOAK = trial.Trial(
    name="soak",
    database="mariadb",
    seconds=600,
    has_outages=False,
    pauses=(2.0, 8.0),
    has_long_faults=True,
    has_all_strategies=True,
    is_measured=True,
    has_sale=True,
    has_customer_actions=True,
    has_restrictions=True,
)

if __name__ == "__main__":
    sys.exit(trial.main(SOAK))
