"""What `REST_FRAMEWORK` names in the settings: how Django's lane reads and writes the bodies of calls."""

from typing import IO, Any

from django.conf import settings
from django.http import HttpResponse
from rest_framework.exceptions import MethodNotAllowed
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.views import set_rollback

from foundation.http import json_format, problems
from foundation.lazy_texts import mark
from foundation.values import GivenValues


class JSONParser(BaseParser):
    """Strict JSON of a bounded size and depth; another type of body is refused (`json_format.parse`)."""

    media_type = "application/json"

    def parse(
        self, stream: IO[bytes], media_type: str | None = None, parser_context: GivenValues | None = None
    ) -> Any:
        body = stream.read()
        if len(body) > settings.MAX_BODY_BYTES:
            raise json_format.TooLarge
        return json_format.parse(body, media_type or "")


class JSONRenderer(BaseRenderer):
    media_type = "application/json"
    format = "json"
    charset = "utf-8"

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: GivenValues | None = None
    ) -> bytes:
        return b"" if data is None else json_format.dump(data)


class LenientNegotiation(DefaultContentNegotiation):
    """A body of a type that no parser takes is refused by the last one, in the words of the contract."""

    def select_parser(self, request: Any, parsers: Any) -> Any:
        return super().select_parser(request, parsers) or parsers[-1]


def handle_exception(error: Exception, context: GivenValues) -> HttpResponse | None:
    """The problem of an error that a view expects; Django has the others, whose receivers want to know."""
    request = context["request"]
    if isinstance(error, MethodNotAllowed):
        detail = mark('Method "{method}" not allowed.', method=request.method)
        allow = {"Allow": ", ".join(context["view"].allowed_methods)}
        return problems.problem(
            405, "method_not_allowed", detail, headers=allow, language=request.language
        ).to_django()
    problem = problems.from_expected(error, request.language)
    if problem is None:
        return None
    set_rollback()
    return problem.to_django()
