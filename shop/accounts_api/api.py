"""The account calls of the contract."""

from dataclasses import asdict

from django.contrib.auth.models import User
from drf_spectacular.utils import extend_schema
from rest_framework.permissions import AllowAny

from shop.accounts import accounts, sign_ins, tokens
from shop.accounts.token_signatures import TokenInvalid
from shop.accounts_api.schemas import (
    AccountBody,
    OwnAccountBody,
    RefreshInput,
    RegisterInput,
    SignInInput,
    TokensBody,
)
from shop.http import client_address, openapi
from shop.http.permissions import account_id
from shop.http.validation import read
from shop.http.views import Request, Response, View
from shop.rates import throttling


class PublicView(View):
    """A call that needs no account, and doesn't look at a token that came along."""

    authentication_classes = []
    permission_classes = [AllowAny]


class Users(PublicView):
    @extend_schema(
        summary="Register an account",
        request=RegisterInput,
        responses={201: AccountBody} | openapi.refusals({429: ["throttled"]}),
    )
    def post(self, request: Request) -> Response:
        """60 an hour and address; of IPv6 the first 64 bits count."""
        asked = read(RegisterInput, request)
        network = throttling.network_of_address(client_address.from_request(request))
        throttling.count_attempt([(throttling.REGISTRATIONS, network)])
        user = accounts.register(
            username=asked.username, email=asked.email, password=asked.password, network=network
        )
        return Response(_account_body(user), status=201)


class OwnAccount(View):
    @extend_schema(summary="The caller's own account", responses={200: OwnAccountBody})
    def get(self, request: Request) -> Response:
        """Who the access token speaks for."""
        user = User.objects.filter(pk=account_id(request)).first()
        if user is None:
            raise TokenInvalid
        return Response(_account_body(user) | {"is_staff": user.is_staff})


class SignIn(PublicView):
    @extend_schema(
        summary="Sign in by name and password",
        request=SignInInput,
        responses={200: TokensBody} | openapi.refusals({401: ["invalid_credentials"], 429: ["throttled"]}),
    )
    def post(self, request: Request) -> Response:
        """10 attempts a minute and username from an address, 60 a minute and address.

        Attempts from many addresses at one username are limited only where they are over 100 a minute, and
        not for addresses that have signed in to it lately. Of IPv6 the first 64 bits count.
        """
        asked = read(SignInInput, request)
        user = sign_ins.sign_in(
            username=asked.username, password=asked.password, address=client_address.from_request(request)
        )
        return Response(asdict(tokens.create_token_pair(user)))


class Refresh(PublicView):
    @extend_schema(
        summary="Use a refresh token up for a new pair",
        request=RefreshInput,
        responses={200: TokensBody} | openapi.refusals({401: ["token_invalid"], 429: ["throttled"]}),
    )
    def post(self, request: Request) -> Response:
        """Refresh tokens rotate: each is good for one use.

        A used one is refused; more than 10 s after its use it also ends all tokens of its sign-in.
        60 a minute and account; a token that came with a call too many is as good as before.
        """
        return Response(asdict(tokens.rotate(read(RefreshInput, request).refresh)))


class SignOut(View):
    @extend_schema(
        summary="Have a refresh token refused from now on", request=RefreshInput, responses={204: None}
    )
    def post(self, request: Request) -> Response:
        """For one's own refresh token, and all of the same sign-in; repeating it is fine."""
        tokens.revoke(read(RefreshInput, request).refresh, account_id=account_id(request))
        return Response(status=204)


def _account_body(user: User) -> dict[str, object]:
    return {"id": user.pk, "username": user.username, "email": user.email}
