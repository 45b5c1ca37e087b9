"""The HTTP edge of the event feed."""

import time

from drf_spectacular.utils import OpenApiParameter, extend_schema

from shop.accounts.authentication import Account
from shop.api_keys import keys
from shop.api_keys.scopes import Resource
from shop.concurrency.event_loop import run_in_thread, sleep
from shop.event_feed import reading, sequencing
from shop.feed_api import schemas
from shop.http import prefer
from shop.http.messages import caller_id
from shop.http.openapi import api_doc
from shop.http.permissions import READ_EVENTS, require_staff_permission
from shop.http.validation import read_query
from shop.http.views import Request, Response, View
from shop.redis import completion_notifications

MOST_WAITING = 8
"""Calls of one account that wait for an event in a process; a further one is answered at once."""
CHECK_SECONDS = 1.0
"""Between two reads of a call that waits: events of other types wake it too."""
MOST_POSITIONS = 10_000
"""That a call looks at, so that one for a rare type costs little."""
NEVER = float("-inf")


class Events(View):
    resource = Resource.EVENTS

    @extend_schema(
        summary="What happened, each event once (staff)",
        description="A reader sends the `next` of each answer as `after` of the following call, and gets "
        "every event once, in an order that never changes: positions are given after the commit, so none is "
        "skipped. An event that is sent twice, because an answer was lost, has the same `id`. Events are "
        "kept for seven days at least; without `after` the oldest is the first. The events of an order come "
        "in the sequence in which they happened. With `Prefer: wait=N` a page without events is answered "
        "once there is one, or after N seconds.",
        parameters=[
            OpenApiParameter("after", str, description="The cursor `next` of the page before."),
            OpenApiParameter(
                "type",
                str,
                description="Only events of this type, or of all that begin so, as `order.*`. A page may "
                "then be empty while others follow: continue with its `next`.",
            ),
            api_doc.PAGING[0],
            api_doc.PREFER_WAIT,
        ],
        responses={200: schemas.FeedPageBody}
        | api_doc.refusals({403: ["permission_denied"], 410: ["cursor_expired"]}),
    )
    async def get(self, request: Request) -> Response:
        caller = caller_id(request)
        await run_in_thread(require_staff_permission, request, READ_EVENTS, group="staff", member=caller)
        query = read_query(schemas.EventsQuery, request)
        reading.check_pattern(query.type)
        after = reading.decode_cursor(query.after) if query.after else None

        async def read(after: reading.Cursor | None) -> reading.Page:
            return await run_in_thread(_read, query, after, group="staff", member=caller)

        page = await read(after)
        read_at = NEVER
        seconds = prefer.wait_seconds(request.header("Prefer"))
        if seconds and page.is_end and not page.events:

            async def has_events() -> bool:
                nonlocal page, read_at
                await sleep(max(0.0, read_at + CHECK_SECONDS - time.monotonic()))
                page = await read(page.cursor)
                read_at = time.monotonic()
                return bool(page.events)

            await completion_notifications.wait(
                sequencing.NOTIFICATION,
                is_settled=has_events,
                seconds=seconds,
                owner=caller,
                most_of_owner=MOST_WAITING,
            )
            if page.events:
                await run_in_thread(_require_right_still, request, group="staff", member=caller)
        return Response(schemas.page_body(page))


def _require_right_still(request: Request) -> None:
    """Raises `NotAllowed`, and `TokenInvalid` for a key that was revoked while the call waited."""
    require_staff_permission(request, READ_EVENTS)
    if isinstance(request.user, Account) and request.user.key is not None:
        keys.require_usable(request.user.key.id)


def _read(query: schemas.EventsQuery, after: reading.Cursor | None) -> reading.Page:
    return reading.read_page(
        after=after and after.position,
        generation=after and after.generation,
        patterns=[query.type] if query.type else [],
        limit=query.page_size,
        most_positions=MOST_POSITIONS,
    )
