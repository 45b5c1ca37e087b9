"""Middlewares: request ids, languages, problems instead of HTML errors, uploads, metrics."""

import hmac
import threading
from collections.abc import Callable
from zoneinfo import ZoneInfo

from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.core.cache.backends.locmem import LocMemCache
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.middleware import common
from django.utils import timezone, translation
from django.utils.cache import patch_vary_headers
from django.utils.translation import gettext, gettext_noop

from foundation import clock, journal
from foundation.errors import FirstcomeError, NotAllowed, Overloaded
from foundation.http import client_address, json_format, messages, preferences, problems, views
from foundation.http.request_body import UPLOAD_KEY, Upload
from foundation.lazy_texts import mark
from foundation.normalization import normalized
from foundation.observability import logs

Handler = Callable[[HttpRequest], HttpResponse]
# Pages for people; all other paths are for programs.
PAGE_PATHS = ("/admin", "/api/docs", "/static")
METRICS_PATH = "/metrics"
SIGN_IN_PATH = "/admin/login/"
LONGEST_OPEN_FORM = 8 * 1024
REASONS = [
    gettext_noop("Bad Request."),
    gettext_noop("Forbidden."),
    gettext_noop("Method Not Allowed."),
    gettext_noop("Not Found."),
]
"""What Django's own errors are named, for the catalogs."""
# Alpine, by which unfold's pages work, evaluates attributes, and they have styles. No script is run but those
# in files of the shop's.
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
USED_AT = "used_at"
USE_WRITTEN_AFTER_SECONDS = 600
BY_ITSELF_KEY = "firstcome.by_itself"
"""In the `META` of a request that a page makes by itself: it is no use of the session."""
verified_sessions = LocMemCache("verified sessions", {"TIMEOUT": 900, "OPTIONS": {"MAX_ENTRIES": 1_000}})
"""The sessions of which a page of this process found, some minutes ago at most, that they are operators'."""
MAX_CONCURRENT_UPLOADS = 2
upload_slots = threading.BoundedSemaphore(MAX_CONCURRENT_UPLOADS)
"""Slots for uploads on this process's disk: held from before a body is read until the response."""


def request_id(handler: Handler) -> Handler:
    """Set the request's id in logs, in the response and in problems: the caller's `X-Request-ID` if it is
    valid.
    """

    def named(request: HttpRequest) -> HttpResponse:
        name = logs.choose_request_id(request.META.get("HTTP_X_REQUEST_ID"))
        with logs.bound_request(name), journal.acting(journal.unidentified(name)):
            response = handler(request)
        response["X-Request-ID"] = name
        if getattr(response, "problem_code", "") and "Idempotency-Replayed" not in response:
            response.content = messages.with_request_id(response.content, name)
            del response["Content-Length"]  # of the body before
        is_private = views.is_private(request.method, has_authorization="Authorization" in request.headers)
        if is_private and request.path_info.startswith(views.API_PREFIX):
            response["Cache-Control"] = "no-store"
        return response

    return named


def choose_language(handler: Handler) -> Handler:
    """Render pages, and problems outside the API, in the language that the request prefers, and the admin's
    in the one that was chosen there.

    Only until the response: a thread of the pool makes responses in other languages, and what is stored.
    """

    def localized(request: HttpRequest) -> HttpResponse:
        chosen = (
            request.COOKIES.get(settings.LANGUAGE_COOKIE_NAME) if request.path.startswith("/admin/") else ""
        )
        preferred = chosen or request.META.get("HTTP_ACCEPT_LANGUAGE")
        with translation.override(preferences.choose_language(preferred)):
            response = _as_problem(request, handler(request))
            if response.get("Content-Type", "").startswith("text/html"):
                response.headers.setdefault("Content-Language", translation.get_language())
                patch_vary_headers(response, ["Accept-Language", *(["Cookie"] if chosen else [])])
        return response

    return localized


def _as_problem(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    """The response, but a problem for a program that would get Django's own HTML error."""
    is_html = response.get("Content-Type", "").startswith("text/html")
    is_page = request.path.startswith(PAGE_PATHS) or problems.is_for_people(request)
    if response.status_code < 400 or not is_html or is_page:
        return response
    allowed = {"Allow": response["Allow"]} if "Allow" in response else {}
    codes = {404: "not_found", 405: "method_not_allowed", 403: "permission_denied", 400: "invalid"}
    code = codes.get(response.status_code, "internal_error")
    reason = f"{response.reason_phrase}."
    return problems.problem(response.status_code, code, gettext(reason), headers=allowed).to_django()


def guard_operators_pages(handler: Handler) -> Handler:
    """Receive what operators send to their pages, note who acts, and read and show times in the shop's zone.

    Forms are read if they come from staff, or are as short as those for signing in. An upload is read if it
    comes from permitted staff, a few at a time; any other is refused unread.
    """

    def guarded(request: HttpRequest) -> HttpResponse:
        if not request.path_info.startswith("/admin"):
            return handler(request)
        with timezone.override(ZoneInfo(settings.SHOP_TIME_ZONE)):
            return guarded_page(request)

    def guarded_page(request: HttpRequest) -> HttpResponse:
        upload: Upload | None = request.META.get(UPLOAD_KEY)
        is_operator = request.user.is_active and request.user.is_staff
        if upload is None:
            is_short = int(request.META.get("CONTENT_LENGTH") or 0) <= LONGEST_OPEN_FORM
            if request.method == "POST" and not (is_operator or is_short):
                # The check of its CSRF token would read it first.
                return redirect_to_login(request.get_full_path(), SIGN_IN_PATH)
            return _answer_operator(request, handler)
        try:
            if not is_operator:
                raise json_format.TooLarge
            if not request.user.has_perms(upload.permissions):
                raise NotAllowed(mark("This account may not do that."))
            if not upload_slots.acquire(blocking=False):
                raise Overloaded(mark("Other uploads are being processed; nothing was done. Try again."))
            try:
                request.POST.keys()  # receives the body: its file is written to disk
                return _answer_operator(request, handler)
            finally:
                upload_slots.release()
        except FirstcomeError as error:
            return problems.from_error(error).to_django()

    return guarded


def _answer_operator(request: HttpRequest, handler: Handler) -> HttpResponse:
    """Answer with a policy of what the page may run; note in the journal who acts, and prolong the session.

    The text of forms is passed on as it is stored, but for passwords, which are no stored text. A session
    ends `SESSION_COOKIE_AGE` after its use was written last, or after the sign-in. It is written once in ten
    minutes at most, and never again once it was ended, as by this very request.
    """
    is_operator = request.user.is_active and request.user.is_staff
    if request.method == "POST" and is_operator:
        posted = request.POST.copy()
        for name, values in posted.lists():
            if "password" not in name:
                posted.setlist(name, normalized(values))
        request.POST = posted  # type: ignore[assignment]
    if request.user.is_authenticated:
        if is_operator:
            verified_sessions.set(request.session.session_key or "", True)
        journal.identify_actor(account_id=request.user.pk, is_staff=True, name=request.user.get_username())
    response = handler(request)
    response.headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY)
    user = request.user
    session = request.session
    now = clock.seconds()
    if user.is_authenticated and session.session_key:
        signed_in_at = user.last_login.timestamp() if user.last_login else 0
        is_due = now - max(signed_in_at, session.get(USED_AT, 0)) > USE_WRITTEN_AFTER_SECONDS
        if is_due and BY_ITSELF_KEY not in request.META and session.exists(session.session_key):
            session[USED_AT] = int(now)
    return response


def may_read_metrics(request: HttpRequest) -> bool:
    """Whether the request has the token, or comes from this machine and names a host of the shop's."""
    if _has_metrics_token(request):
        return True
    try:
        request.get_host()
    except DisallowedHost:
        return False
    return client_address.is_local(request)


class CommonMiddleware(common.CommonMiddleware):
    """Django's, which refuses unknown hosts, except of scrapes with the token.

    Prometheus calls each container by its address, which is in no setting.
    """

    def process_request(self, request: HttpRequest) -> HttpResponseBase | None:  # type: ignore[override]
        if request.path_info == METRICS_PATH and _has_metrics_token(request):
            return None
        return super().process_request(request)


def _has_metrics_token(request: HttpRequest) -> bool:
    given = request.headers.get("Authorization", "").encode("latin-1", "replace")
    wanted = f"Bearer {settings.METRICS_TOKEN}".encode()
    return bool(settings.METRICS_TOKEN) and hmac.compare_digest(given, wanted)
