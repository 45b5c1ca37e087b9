"""The project's URLs, and views that fail in every way a view can."""

from django.core.exceptions import PermissionDenied
from django.db import connection
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import path
from rest_framework.permissions import AllowAny

from shop.http.views import Request, Response, View
from shop.scopes import Resource
from shop.urls import handler400, handler403, handler404, handler500, urlpatterns

__all__ = ["handler400", "handler403", "handler404", "handler500"]


class Broken(View):
    """A programming error with a secret in its message."""

    resource = Resource.NONE
    permission_classes = [AllowAny]

    def get(self, request: Request) -> Response:
        raise RuntimeError("secret-of-the-house")


class BadSQL(View):
    """A statement that the database refuses and quotes in its error."""

    resource = Resource.NONE
    permission_classes = [AllowAny]

    def get(self, request: Request) -> Response:
        with connection.cursor() as cursor:
            cursor.execute("SELECT secret FROM house")
        return Response({})


def plain_broken(request: HttpRequest) -> HttpResponse:
    """The same outside REST framework."""
    raise RuntimeError("secret-of-the-house")


def plain_missing(request: HttpRequest) -> HttpResponse:
    raise Http404("secret-of-the-house")


def plain_forbidden(request: HttpRequest) -> HttpResponse:
    raise PermissionDenied("secret-of-the-house")


def plain_querying(request: HttpRequest) -> HttpResponse:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return HttpResponse("there")


urlpatterns = [
    *urlpatterns,
    path("api/v1/broken", Broken.as_view()),
    path("api/v1/bad-sql", BadSQL.as_view()),
    path("plain/broken", plain_broken),
    path("plain/missing", plain_missing),
    path("plain/forbidden", plain_forbidden),
    path("plain/querying", plain_querying),
]
