"""`make soak`: ten minutes of all that clients, staff and faults can do. The trial is in `storm.trial`."""

import sys

from scripts.storm import trial

if __name__ == "__main__":
    sys.exit(trial.main(trial.Trial(name="soak", database="mariadb", seconds=600, has_outages=False)))
