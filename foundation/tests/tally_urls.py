"""Minimal keyed calls over HTTP: they count a name in the tally."""

from functools import partial

from django.http import HttpResponse
from django.urls import path
from rest_framework.permissions import IsAuthenticated

from foundation.errors import Invalid, NotAllowed, NotFound, Rejected, Throttled, Unavailable
from foundation.http import json_format, keyed_calls
from foundation.http.messages import with_request_id
from foundation.http.openapi import api_doc
from foundation.http.openapi.api_doc import extend_schema
from foundation.http.validation import Input, NonBlankText, read
from foundation.http.views import Request, View
from foundation.idempotency import recorded_answers
from foundation.idempotency.recorded_answers import Answer
from foundation.scopes import Resource
from foundation.tests import tally

REFUSALS = {
    "refused-400": Invalid,
    "refused-403": NotAllowed,
    "refused-404": NotFound,
    "refused-409": Rejected,
    "refused-429": Throttled,
    "refused-503": Unavailable,
}


class CountInput(Input):
    name: NonBlankText


class CountOne(View):
    """Counts the name; a name in `REFUSALS` raises its error, `declined` is answered 402 and recorded."""

    resource = Resource.NONE
    permission_classes = [IsAuthenticated]

    @extend_schema(parameters=[api_doc.IDEMPOTENCY_KEY])
    def post(self, request: Request) -> HttpResponse:
        body = read(CountInput, request)
        answer = partial(declined, request) if body.name == "declined" else counted
        call = keyed_calls.read_keyed_call(request, answer)
        outcome = keyed_calls.perform_blocking(
            call, lambda: recorded_answers.run_once(call, lambda: count(body.name))
        )
        return keyed_calls.respond_recorded(call, outcome)

    put = post


def count(name: str) -> int:
    [position] = tally.count([name])
    if name in REFUSALS:
        raise REFUSALS[name](name)
    if name == "broken":
        raise RuntimeError(name)
    assert isinstance(position, int)
    return position


def counted(position) -> Answer:
    return Answer(201, json_format.dump({"position": position, "ticket": "🎟"}), f"/api/v1/tally/{position}")


def declined(request: Request, position) -> Answer:
    problem = json_format.dump({"code": "payment_declined", "status": 402})
    return Answer(402, with_request_id(problem, request.headers["X-Request-ID"]))


urlpatterns = [path("api/v1/tally", CountOne.as_view()), path("api/v1/other-tally", CountOne.as_view())]
