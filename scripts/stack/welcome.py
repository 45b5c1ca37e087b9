"""What `make run` says when the shop is ready: addresses, a demo login, and a line to paste."""

import json
import shlex

from scripts.stack import Environment, ports
from scripts.stack.instance import Instance

DEMO_USER = "demo"
DEMO_PASSWORD = "demo-pass-2026"  # noqa: S105 - public
STAFF_USER = "staff"
STAFF_PASSWORD = "staff-pass-2026"  # noqa: S105 - public
LOGIN = json.dumps({"username": DEMO_USER, "password": DEMO_PASSWORD})
JSON = {"Content-Type": "application/json"}


def text(instance: Instance, environment: Environment) -> str:
    """The whole greeting; it promises no demo user and no open campaign that the database does not hold."""
    database = environment["DATABASE_URL"].partition(":")[0]
    return f"""
Firstcome is ready. Its state is in {instance.home} ({database}), its logs in {instance.logs}.
It listens on {ports.HOST}, without the proxy that production has before it.

  Start page     {instance.url}/
  Demo store     {instance.url}/demo/
  API            {instance.url}/api/v1
  API docs       {instance.url}/api/docs/
  Admin          {instance.url}/admin/
  Metrics        {instance.url}/metrics
  Gateway        {environment["GATEWAY_URL"]}/summary
  Data platform  {environment["DATA_PLATFORM_URL"]}/healthz
  Partner        {environment["PARTNER_URL"]}/registrations
  Webhooks       {environment["DATA_PLATFORM_URL"]}/hooks keeps what an endpoint with this address is sent

{demo(instance)}

Ctrl-C stops everything."""


def demo(instance: Instance) -> str:
    """The demo's accounts, and a line to paste; or that they are not in this database."""
    if ports.ask(instance.port, "POST", "/api/v1/auth/token", LOGIN, JSON)[0] != 200:
        return "The demo accounts are not in this database: sign in with your own."
    accounts = f"Demo login: {DEMO_USER} / {DEMO_PASSWORD}    Admin: {STAFF_USER} / {STAFF_PASSWORD}"
    campaigns = json.loads(ports.ask(instance.port, "GET", "/api/v1/campaigns")[1]).get("results", [])
    is_open = []
    for campaign in campaigns:
        if campaign["status"] == "open":
            is_open.append(campaign["id"])
    what = "No campaign is open; this shows the demo user's coupons:"
    body = ""
    content = "-H 'Content-Type: application/json'"
    if is_open:
        what = "A coupon for the demo user; paste this into another shell:"
        body = f" {content} -d {shlex.quote(json.dumps({'campaign': is_open[0]}))}"
    # One line that signs in and makes a call with the token.
    sign_in = f"curl -sS {instance.url}/api/v1/auth/token {content} -d {shlex.quote(LOGIN)}"
    token = f"""$({sign_in} | sed 's/.*"access": *"\\([^"]*\\)".*/\\1/')"""
    call = f'curl -sS {instance.url}/api/v1/coupons -H "Authorization: Bearer {token}"{body}'
    return f"{accounts}\n\n{what}\n{call}"
