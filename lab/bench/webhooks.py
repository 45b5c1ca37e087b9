"""How quickly the newest events are sent as webhooks to one endpoint, in the environment of a stack, as JSON:
`python -m lab.bench.webhooks 5000`."""

import json
import multiprocessing
import secrets
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from unittest import mock

import django

django.setup()  # before the shop's modules

from django.contrib.auth.models import User  # noqa: E402

from events.feed import reading  # noqa: E402
from events.models import WebhookDelivery, WebhookEndpoint  # noqa: E402
from events.webhooks import delivery_pass, endpoints, signatures  # noqa: E402
from scripts.stack import ports  # noqa: E402
from shop import clock  # noqa: E402
from shop.outbound import public_addresses  # noqa: E402


class Receiver(BaseHTTPRequestHandler):
    """Answers at once; the sender keeps its connection."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.wfile.write(b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n")

    def log_message(self, *words: object) -> None: ...


def deliver(number: int, port: int) -> dict[str, Any]:
    """Send that many events, or as many as there are, to an endpoint that no worker of the stack may lease."""
    last = reading.read_state().last_position
    endpoint = WebhookEndpoint.objects.create(
        url=f"http://{ports.HOST}:{port}/",
        events=["*"],
        secret=signatures.new_secret(),
        position=max(0, last - number),
        # It gets events while its owner may read them.
        owner_id=User.objects.create_superuser(f"bench-webhooks-{secrets.token_hex(4)}").pk,
        created_at=clock.now(),
        lease_token=secrets.token_hex(16),
        leased_until=clock.now() + timedelta(hours=1),
    )
    processor_began_at, began_at = time.process_time(), time.monotonic()
    # Without DEBUG no webhook is sent to an address of this host.
    with (
        mock.patch.object(public_addresses, "resolve", lambda url, **_: [ports.HOST]),
        ThreadPoolExecutor(delivery_pass.SENDING_AT_ONCE) as pool,
    ):
        while delivery_pass.run(endpoint, pool=pool):
            endpoint.refresh_from_db()
    seconds, processor = time.monotonic() - began_at, time.process_time() - processor_began_at
    sent = endpoint.deliveries.all()
    delivered = sent.filter(status=WebhookDelivery.Status.DELIVERED).count()
    error = sent.exclude(error="").values_list("error", flat=True).first()
    endpoints.delete(endpoint_id=endpoint.pk)
    lost = f"webhooks: {delivered} of {min(number, last)} events were delivered: {error}"
    return {
        "figures": {"per_second": delivered / seconds, "python_us": 1e6 * processor / max(1, delivered)},
        "findings": [lost] * (delivered < min(number, last)),
    }


if __name__ == "__main__":
    server = ThreadingHTTPServer((ports.HOST, 0), Receiver)
    # Before there is a connection to the database or a thread, which a fork would copy.
    receiver = multiprocessing.get_context("fork").Process(target=server.serve_forever, daemon=True)
    receiver.start()
    print(json.dumps(deliver(int(sys.argv[1]), server.server_port)))
    receiver.kill()
