"""The result of one check of the doctor, and the table of what to do about each problem."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "danger"]
CONFIGURE = "and put it into the server's configuration."
DANGERS = {
    "DEBUG": "Set DEBUG=0: error pages would show internals, and each process would keep all its queries.",
    "SECRET_KEY": "An attacker who guesses it can sign in as any account: set it to 50 random characters, "
    "and keep it secret.",
    "guessable token key": "Tokens of such a key can be forged for any account: remove it at once, and make "
    "another.",
    "EVENT_SECRET": "Events are unsigned, so anyone could send events to the data platform: set it on both "
    "sides.",
    "migrations": "Run `manage.py migrate`.",
    "unreadable migrations": "See the database's own finding.",
    "demo superusers": "Their passwords are public, and they have all permissions: disable these accounts at "
    "once.",
    "database": "Start it, or correct DATABASE_URL.",
    "isolation level": "Updates may be lost: leave isolation_level out of DATABASE_URL; READ COMMITTED is "
    "set then.",
    "innodb_flush_log_at_trx_commit": "A crash would lose acknowledged writes: SET GLOBAL "
    f"innodb_flush_log_at_trx_commit=1, {CONFIGURE}",
    "sync_binlog": f"A restore would lack what was acknowledged: SET GLOBAL sync_binlog=1, {CONFIGURE}",
    "sql_mode": "Values that don't fit would be truncated: leave sql_mode out of DATABASE_URL.",
    "constraints": "The laws are constraints of InnoDB tables: set check_constraint_checks=ON and that "
    "engine.",
    "max_connections": "SET GLOBAL max_connections={needed} or more, or lower WEB_THREADS.",
    "Redis for orders": "INVENTORY_STRATEGY=redis_gate refuses orders without it: start it, or correct "
    "REDIS_URL.",
    "broker eviction": "CONFIG SET maxmemory-policy noeviction: a full Redis would drop queued tasks.",
    "broker queues": "They are of another type and can't be changed: let workers empty them, and delete "
    "them.",
    "open payments": "No process starts, as nothing can settle them: let PAYMENT_GATEWAYS name that gateway "
    "with the settings that it had, until they are settled.",
    "clock": "Let every machine follow the same time server (chrony, or systemd-timesyncd).",
    "laws": "The admin lists the offenders (Law statuses), as does `manage.py audit`; docs/runbook.md, "
    "LawBroken, says what to do. The next audit finds out whether it is repaired.",
}
"""Of problems that break a promise, what to do: by the check, unless it has problems of several kinds."""
WARNINGS = {
    "TOKEN_SIGNING_KEYS": "Give tokens a key of their own, which can be changed without signing accounts "
    "out: docs/sign-in.md, Tokens and their keys, has the steps.",
    "webhook secret": "No webhook is accepted, so late payment results are noticed late: set it on both "
    "sides.",
    "ALLOWED_HOSTS": "Name the hosts: a forged Host header would end up in the links of responses.",
    "TRUSTED_PROXIES": "HTTPS=1 says that a proxy is in front: set TRUSTED_PROXIES to how many there are, or "
    "clients share its address and its limits. Proxies must drop headers whose names have underscores.",
    "DEMO": "Set DEMO=0 where customers buy: /demo/ offers the demo's accounts and the simulator's cards.",
    "STAFF_OTP_REQUIRED": "Set STAFF_OTP_REQUIRED=1: for accounts without codes a password alone opens the "
    "admin.",
    "WEBHOOK_PRIVATE_ADDRESSES": "Set it to 0: webhooks could be sent into the shop's own network.",
    "LAB": "Set LAB=0 where coupons are worth something: the strategy `unsafe` issues too many.",
    "demo accounts": "Disable these accounts in production: their passwords are public.",
    "database version": "It is not tested with one this old; use {oldest} or later.",
    "innodb_buffer_pool_size": "Writes slow down to the disk's pace as tables grow: SET GLOBAL "
    "innodb_buffer_pool_size to more than the indexes, best to most of the server's memory, and put it into "
    "its configuration.",
    "collation": "Searches find other names, and names are taken that aren't. In a quiet hour, after a "
    "backup: {statements}.",
    "unreadable secondary": "The primary answers instead: start it, or correct DATABASE_READ_URL.",
    "secondary": "Lists of staff, exports and reports are read from the primary meanwhile. The primary needs "
    "a binary log with GTIDs, and the secondary has to replicate it; see docs/reads.md.",
    "Redis": "Everything works, but slower, and limits count per process: start it, or correct REDIS_URL.",
    "Redis version": "It gets no fixes: use Redis 8 or Valkey.",
    "Redis eviction": "CONFIG SET maxmemory-policy noeviction: a full Redis would drop locks and sign-in "
    "limits while they are in force.",
    "unknown eviction": "Make sure that it is `noeviction`.",
    "broker": "Web processes and beat run the tasks meanwhile: start it, or correct BROKER_URL.",
    "broker persistence": "CONFIG SET appendonly yes: a restart would lose queued tasks.",
    "unknown persistence": "Make sure that the append-only file is on.",
    "classic queues": "A classic queue is lost with its node: set the queue type to quorum, on new queues.",
    "few nodes": "Name three nodes or more.",
    "broker confirmations": "A message may be lost in a failover: set confirm_publish in the broker's "
    "transport options.",
    "clock, slightly": DANGERS["clock"],
    "dead events": "The data platform lacks them and all later events of their orders: see what is wrong "
    "with `manage.py replay_events`, fix it, and replay them.",
    "refused events": "Look at the answer in the journal (Event: queued) and at DATA_PLATFORM_URL: a wrong "
    "route answers 404 to all. If it is fixed in time, they are delivered; after that they are dead.",
    "queued events": "Check whether the data platform accepts them (the journal has each one's last error), "
    "and whether beat and a worker run.",
    "event feed": "Programs that follow `GET /events` don't get it yet: check whether a web process, or beat "
    "and a worker run, and look for `events get no positions` in their logs.",
    "positions of events": "Readers of `GET /events` may lack events: rows were deleted by hand, or a "
    "restore lost some. Have them read the present state of what they follow.",
    "unchecked laws": "They held when they were last checked. See the reasons, and run `manage.py audit`.",
    "no schedule": "AUDIT_SECONDS is 0: run `manage.py audit` by a schedule of your own, and alarm when it "
    "fails.",
    "scheduled audit": "Check that beat and a worker run; their logs have errors of the task `shop.audit`.",
    "overdue orders": "Check that beat and a worker run. If they do, the admin lists the orders (Orders, by "
    "expiry: overdue), and the page of each has the journal's reason (`order.cannot_expire`): fix that, and "
    "they expire within seconds. Without a reason, another transaction keeps rows locked: the workers' log "
    "says `orders expire later: what they hold is locked`; find that transaction in "
    "information_schema.innodb_trx and end it with KILL.",
    "refundable payments": "Their refunds will be stuck, and no comparison looks at them: let "
    "PAYMENT_GATEWAYS name that gateway with the settings that it had for as long as they may be refunded.",
    "payments' gateways": "Payments of the release before are at PAYMENT_GATEWAY until the next comparison "
    "by schedule names it: change it afterwards.",
    "unfinished deliveries": "Unless it is still running, run its file again with its id: `manage.py "
    "seed_stock FILE --delivery ID`. It continues where the first run ended, also with a file that was "
    "uploaded to the admin.",
}
"""The same of problems that weaken a promise."""


@dataclass(frozen=True)
class Finding:
    """What was found, how severe it is, and what to do. `danger` breaks a promise, `warning` weakens one."""

    check: str
    level: Level
    found: str
    advice: str = ""


def judge(check: str, found: object, is_wrong: bool, problem: str = "", **details: object) -> Finding:
    """The finding of a check. `problem` is its name in the tables, if that is another than the check's."""
    if not is_wrong:
        return Finding(check, "ok", str(found))
    name = problem or check
    level: Level = "danger" if name in DANGERS else "warning"
    advice = DANGERS[name] if name in DANGERS else WARNINGS[name]
    return Finding(check, level, str(found), advice.format(**details) if details else advice)
