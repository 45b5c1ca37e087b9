"""A Redis of its own for each process of a test run; pytest-django gives each its database.

A pytest plugin, named in pyproject.toml, for it must come before the settings are read.
"""

import os

FIRST, EACH = 2, 2
"""Numbers 0 and 1 are for a run in one process; every other process has a cache's and a broker's."""


if "PYTEST_XDIST_WORKER" in os.environ and "REDIS_URL" in os.environ:
    number = FIRST + EACH * int(os.environ["PYTEST_XDIST_WORKER"].removeprefix("gw"))
    for place, name in enumerate(("REDIS_URL", "BROKER_URL")):
        server = os.environ[name].rpartition("/")[0]
        os.environ[name] = f"{server}/{number + place}"
