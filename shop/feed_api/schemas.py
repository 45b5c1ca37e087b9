"""The bodies of the event feed."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, Field

from shop.event_feed import reading
from shop.feed_models import FeedEvent
from shop.http.openapi import api_doc
from shop.http.pagination import DEFAULT_PAGE, LARGEST_PAGE
from shop.http.validation import Query, QueryNumber

api_doc.declare_members(
    "cursor_expired",
    restored_at={
        "type": "string",
        "format": "date-time",
        "description": "when the database was restored from a backup, if the cursor is of before that.",
    },
)


class EventsQuery(Query):
    """Which events are read. A `limit` above the largest page is that of the largest."""

    after: str = ""
    type: str = ""
    limit: Annotated[QueryNumber, Field(ge=1)] = DEFAULT_PAGE

    @property
    def page_size(self) -> int:
        return min(self.limit, LARGEST_PAGE)


class FeedEventBody(BaseModel):
    """Something that happened. `data` depends on the type, and may get further members."""

    id: UUID
    type: str
    at: datetime
    data: dict[str, Any]


class FeedPageBody(BaseModel):
    """Some events in their order. `next` is the cursor after them, to be sent as `after`; never null."""

    results: list[FeedEventBody]
    next: str


def event_body(event: FeedEvent) -> dict[str, Any]:
    """An event as programs see it, in the feed and in webhooks."""
    return {"id": event.event_id, "type": event.type, "at": event.at, "data": event.data}


def page_body(page: reading.Page) -> dict[str, Any]:
    return {
        "results": [event_body(event) for event in page.events],
        "next": reading.encode_cursor(page.cursor),
    }
