"""Start the web server: `python -m shop.web_server` takes granian's arguments, and becomes granian.

The host's clock is checked here, before there are workers: granian starts a worker that ends again and again,
and would never end itself.
"""

import os
import sys

import django

from shop import clock


def main() -> None:
    django.setup()
    clock.refuse_skewed_host()
    # By HTTP/2 one connection could hold every thread that reads a body, and granian frees none of them.
    os.execv(sys.executable, [sys.executable, "-m", "granian", "--http", "1", *sys.argv[1:]])


if __name__ == "__main__":
    main()
