"""What `make run` says when the shop is ready: addresses, a demo login, and a line to paste."""

import json
import shlex
from collections.abc import Mapping

from scripts.stack import ports
from scripts.stack.instance import Instance
from scripts.stack.readiness import ask

DEMO_USER, DEMO_PASSWORD = "demo", "demo-pass-2026"
STAFF_USER, STAFF_PASSWORD = "staff", "staff-pass-2026"
LOGIN = {"username": DEMO_USER, "password": DEMO_PASSWORD}
JSON = {"Content-Type": "application/json"}


def text(instance: Instance, environment: Mapping[str, str]) -> str:
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
  Partner        {environment["PARTNER_URL"]}/summary

{demo(instance)}

Ctrl-C stops everything."""


def demo(instance: Instance) -> str:
    """The demo's accounts, and a line to paste; or that they are not in this database."""
    status, _ = ask(instance.port, "POST", "/api/v1/auth/token", json.dumps(LOGIN), JSON)
    if status != 200:
        return "The demo accounts are not in this database: sign in with your own."
    accounts = f"Demo login: {DEMO_USER} / {DEMO_PASSWORD}    Admin: {STAFF_USER} / {STAFF_PASSWORD}"
    status, answer = ask(instance.port, "GET", "/api/v1/campaigns")
    campaigns = json.loads(answer)["results"] if status == 200 else []
    is_open = [campaign["id"] for campaign in campaigns if campaign["status"] == "open"]
    if not is_open:
        what = "No campaign is open; this shows the demo user's coupons:"
        return f"{accounts}\n\n{what}\n{_curl(instance)}"
    what = "A coupon for the demo user; paste this into another shell:"
    return f"{accounts}\n\n{what}\n{_curl(instance, is_open[0])}"


def _curl(instance: Instance, campaign: int | None = None) -> str:
    """One line that signs in and makes a call with the token."""
    login = shlex.quote(json.dumps(LOGIN))
    content = "-H 'Content-Type: application/json'"
    sign_in = f"curl -sS {instance.url}/api/v1/auth/token {content} -d {login}"
    token = f"""$({sign_in} | sed 's/.*"access": *"\\([^"]*\\)".*/\\1/')"""
    body = "" if campaign is None else f" {content} -d {shlex.quote(json.dumps({'campaign': campaign}))}"
    return f'curl -sS {instance.url}/api/v1/coupons -H "Authorization: Bearer {token}"{body}'
