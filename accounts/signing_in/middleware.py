"""Middlewares: the second factor, and forms with a password that got no turn."""

from collections.abc import Callable

from asgiref.sync import sync_to_async
from django.contrib.auth.models import AnonymousUser, User
from django.http import HttpRequest, HttpResponse
from django.utils.functional import SimpleLazyObject
from django.utils.translation import gettext

from accounts.signing_in import second_factor
from foundation.admin_base import display
from foundation.admin_base.classes import refusal_text
from foundation.http import problems
from foundation.observability import request_metrics

Handler = Callable[[HttpRequest], HttpResponse]
REFUSAL_KEY = "shop.refusal"
"""In the `META` of a form that got no turn, why: `show_refused_turn` shows it."""
COUNTED_KEY = "shop.attempt_counted"
"""In the `META` of a sign-in, which was counted before its turn, the name that it was counted for."""


def require_second_factor(handler: Handler) -> Handler:
    """Let a session of staff count as signed in only if it has its second factor."""

    def checked(request: HttpRequest) -> HttpResponse:
        found = request.user

        def user() -> User | AnonymousUser:
            return second_factor.signed_in_user(found, request.session)

        request.user = SimpleLazyObject(user)  # type: ignore[assignment]
        request.auser = sync_to_async(user)
        return handler(request)

    return checked


def show_refused_turn(handler: Handler) -> Handler:
    """A middleware: say why a form with a password was not looked at, and when to send it again."""

    def answered(request: HttpRequest) -> HttpResponse:
        refusal = request.META.get(REFUSAL_KEY)
        if refusal is None:
            return handler(request)
        problem = problems.from_error(refusal)
        request_metrics.count_refusal("", problem.status_code, problem.code)
        title = gettext("Refused: nothing was done.")
        page = display.refusal_page(request, problem.status_code, title, [], detail=refusal_text(refusal))
        page.headers["Retry-After"] = problem.headers["Retry-After"]
        return page

    return answered
