"""A Redis of its own for each process of a test run; pytest-django gives each its database.

A pytest plugin, named in pyproject.toml, for it must come before the settings are read.
"""

import os

FIRST, EACH = 2, 2
"""Numbers 0 and 1 are for a run in one process; every other process has a cache's and a broker's."""
PATIENCE = "?socket_timeout=5&socket_connect_timeout=5"
"""A process may stand still for more than a second beside those of other tests, and a shop whose Redis says
nothing for that long goes on without it, which most tests don't expect.
"""

if "PYTEST_XDIST_WORKER" in os.environ and "REDIS_URL" in os.environ:
    number = FIRST + EACH * int(os.environ["PYTEST_XDIST_WORKER"].removeprefix("gw"))
    for place, name in enumerate(("REDIS_URL", "BROKER_URL")):
        server = os.environ[name].rpartition("/")[0]
        os.environ[name] = f"{server}/{number + place}"
    os.environ["REDIS_URL"] += PATIENCE
