"""`make chaos`: crashes under load, and stores that stay away for long. The trial is in `storm.trial`."""

import sys

from scripts.storm import trial

if __name__ == "__main__":
    sys.exit(trial.main(trial.Trial(name="chaos", database="sqlite", seconds=60, has_outages=True)))
