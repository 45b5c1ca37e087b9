"""The OpenAPI document and its Swagger UI, served from the project's own files."""

import threading
from functools import cache

import orjson
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.templatetags.static import static
from django.views.decorators.http import require_safe
from drf_spectacular.generators import SchemaGenerator

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


@require_safe
def swagger(request: HttpRequest) -> HttpResponse:
    """Swagger UI."""
    files = {
        "favicon_href": "drf_spectacular_sidecar/swagger-ui-dist/favicon-32x32.png",
        "swagger_ui_css": "drf_spectacular_sidecar/swagger-ui-dist/swagger-ui.css",
        "swagger_ui_bundle": "drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js",
        "swagger_ui_standalone": "drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-standalone-preset.js",
        "script_url": "shop/api_docs.js",
    }
    links = {name: static(path) for name, path in files.items()}
    response = render(request, "drf_spectacular/swagger_ui.html", {"title": "Firstcome"} | links)
    response["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    return response
