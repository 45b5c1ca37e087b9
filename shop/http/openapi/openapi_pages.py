"""The OpenAPI document and its Swagger UI pages, served from the project's own files."""

import threading
from functools import cache

import orjson
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularSwaggerSplitView
from rest_framework.request import Request
from rest_framework.response import Response

# Swagger UI has styles in its markup and icons as data URLs; scripts come from this origin only.
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'"
)
# Generation takes a second, and drf-spectacular fails if two threads start their first one at once.
_mutex = threading.Lock()


@require_safe
def document(request: HttpRequest) -> HttpResponse:
    """The OpenAPI document as JSON."""
    with _mutex:
        text = _generate_document()
    return HttpResponse(text, content_type="application/json; charset=utf-8")


@cache
def _generate_document() -> bytes:
    """Generate the document, once per process: it depends on the code alone."""
    return orjson.dumps(SchemaGenerator().get_schema(request=None, public=True))


class Pages(SpectacularSwaggerSplitView):
    """Swagger UI; its script is a separate request, so that the page needs no inline script."""

    # REST framework's answer to OPTIONS would be rendered by the page's template, which has no place for it.
    http_method_names = ("get", "head")

    @extend_schema(exclude=True)
    def get(self, request: Request, *args: object, **kwargs: object) -> Response:
        response: Response = super().get(request, *args, **kwargs)
        response["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
        return response
