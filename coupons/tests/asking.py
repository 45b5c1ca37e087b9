"""A process that requests coupons: `python -m coupons.tests.asking CAMPAIGN,... ACCOUNT...`.

For each campaign it prints `ready`, waits for a line of input, requests a coupon for all accounts at once,
and prints the number of each outcome.
"""

import json
import sys

import django


def main(campaign_ids: list[int], user_ids: list[int]) -> None:
    from coupons.tests.outcomes import count_outcomes, issue_calls
    from shop.tests.racing import race

    for campaign_id in campaign_ids:
        print("ready", flush=True)
        sys.stdin.readline()
        print(json.dumps(count_outcomes(race(issue_calls(campaign_id, user_ids)))), flush=True)


if __name__ == "__main__":
    django.setup()
    main([int(one) for one in sys.argv[1].split(",")], [int(argument) for argument in sys.argv[2:]])
