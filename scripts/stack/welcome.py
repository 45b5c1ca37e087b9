"""What `make run` says when the shop is ready: addresses, a demo login, and a line to paste."""

import json
import shlex
from collections.abc import Mapping

from scripts.stack.instance import Instance
from scripts.stack.readiness import ask

DEMO_USER, DEMO_PASSWORD = "demo", "demo-pass-2026"
STAFF_USER, STAFF_PASSWORD = "staff", "staff-pass-2026"
JSON = {"Content-Type": "application/json"}


def text(instance: Instance, environment: Mapping[str, str]) -> str:
    """The whole greeting; it promises no demo user and no open campaign that the database does not hold."""
    database = environment["DATABASE_URL"].partition(":")[0]
    lines = [
        "",
        f"Firstcome is ready. Its state is in {instance.home} ({database}), its logs in {instance.logs}.",
        "",
        f"  API            {instance.url}/api/v1",
        f"  API docs       {instance.url}/api/docs/",
        f"  Admin          {instance.url}/admin/",
        f"  Metrics        {instance.url}/metrics",
        f"  Gateway        {environment['GATEWAY_URL']}/summary",
        f"  Data platform  {environment['DATA_PLATFORM_URL']}/healthz",
        f"  Partner        {environment['PARTNER_URL']}/summary",
        "",
        *_demo(instance),
        "Ctrl-C stops everything.",
    ]
    return "\n".join(lines)


def _demo(instance: Instance) -> list[str]:
    if not _can_sign_in(instance):
        return ["The demo accounts are not in this database: sign in with your own.", ""]
    lines = [f"Demo login: {DEMO_USER} / {DEMO_PASSWORD}    Admin: {STAFF_USER} / {STAFF_PASSWORD}", ""]
    campaign = _open_campaign(instance)
    if campaign is None:
        return [*lines, "No campaign is open; this shows the demo user's coupons:", _curl(instance), ""]
    return [
        *lines,
        "A coupon for the demo user; paste this into another shell:",
        _curl(instance, campaign),
        "",
    ]


def _curl(instance: Instance, campaign: int | None = None) -> str:
    """One line that signs in and makes a call with the token."""
    login = shlex.quote(json.dumps({"username": DEMO_USER, "password": DEMO_PASSWORD}))
    content = "-H 'Content-Type: application/json'"
    sign_in = f"curl -sS {instance.url}/api/v1/auth/token {content} -d {login}"
    token = f"""$({sign_in} | sed 's/.*"access": *"\\([^"]*\\)".*/\\1/')"""
    body = "" if campaign is None else f" {content} -d {shlex.quote(json.dumps({'campaign': campaign}))}"
    return f'curl -sS {instance.url}/api/v1/coupons -H "Authorization: Bearer {token}"{body}'


def _can_sign_in(instance: Instance) -> bool:
    body = json.dumps({"username": DEMO_USER, "password": DEMO_PASSWORD})
    status, _ = ask(instance.port, "POST", "/api/v1/auth/token", body, JSON)
    return status == 200


def _open_campaign(instance: Instance) -> int | None:
    status, answer = ask(instance.port, "GET", "/api/v1/campaigns")
    if status != 200:
        return None
    return next((found["id"] for found in json.loads(answer)["results"] if found["status"] == "open"), None)
