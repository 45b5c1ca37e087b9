"""Settle the queues of campaigns with the strategy `queue`, until SIGTERM or Ctrl-C."""

import json as to_json
import signal
import threading
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from coupons.queue import worker
from foundation import clock
from foundation.errors import Unavailable
from foundation.observability import gauges, tracing
from foundation.observability.gauges import Source
from foundation.operations import heartbeats, metrics, shared_counts


class Command(BaseCommand):
    help = (
        "Settle the queues of campaigns with the strategy queue. Any number of issuers may run, each with 55 "
        "connections to the database at most."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", help="settle the tickets that wait now, then end")
        parser.add_argument(
            "--alive", type=Path, metavar="FILE", help="touch it every second while all is well"
        )
        parser.add_argument("--json", action="store_true", help="for programs, with --once")

    def handle(self, *, once: bool, alive: Path | None, json: bool, **_: Any) -> None:
        clock.start()
        tracing.start("issuer", endpoint=settings.OTEL_EXPORTER_OTLP_ENDPOINT)
        if not once:
            self._serve(alive)
            return
        try:
            served = worker.serve_once()
        except Unavailable as error:
            raise CommandError(f"{error.detail} Start it, then run this again.") from error
        self.stdout.write(to_json.dumps({"served": served}) if json else f"{served:,} tickets settled.")

    def _serve(self, alive: Path | None) -> None:
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        self.stdout.write("Settling the queues; SIGTERM or Ctrl-C ends it after the current batch.")
        self.stdout.flush()
        heartbeats.expose(heartbeats.ISSUER, Source.PROCESS)
        metrics.start_server(gauges.OF_PROCESS)
        shared_counts.start()

        def record_pass() -> None:
            heartbeats.record(heartbeats.ISSUER)
            if alive:
                alive.touch()

        worker.serve(stop, on_refresh=record_pass)
