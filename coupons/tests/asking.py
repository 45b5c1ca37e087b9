"""A process of its own that asks for coupons: `python -m coupons.tests.asking CAMPAIGN ACCOUNT...`.

It says `ready`, waits for a line, asks for all accounts at once, and prints how often each outcome came.
"""

import json
import sys

import django


def main(campaign_id: int, user_ids: list[int]) -> None:
    from coupons.tests.outcomes import asking, told
    from shop.tests.racing import race

    print("ready", flush=True)
    sys.stdin.readline()
    print(json.dumps(told(race(asking(campaign_id, user_ids)))), flush=True)


if __name__ == "__main__":
    django.setup()
    main(int(sys.argv[1]), [int(argument) for argument in sys.argv[2:]])
