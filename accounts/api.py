"""Views of the account endpoints."""

from functools import partial

from django.contrib.auth.models import User
from rest_framework.permissions import AllowAny

from accounts import accounts, openapi as _openapi  # noqa: F401 - of all calls' document
from accounts.api_keys.calls import APIKey
from accounts.schemas import (
    AccountBody,
    ChangePasswordInput,
    OneAccountBody,
    OwnAccountBody,
    RefreshInput,
    RegisterInput,
    SignInInput,
    TokensBody,
)
from accounts.signing_in import password_hashing, sign_ins
from accounts.tokens import passwords, token_pairs
from foundation.account import TokenInvalid
from foundation.concurrency.event_loop import run_in_thread
from foundation.errors import required
from foundation.http import client_address
from foundation.http.messages import account_id
from foundation.http.openapi.api_doc import extend_schema
from foundation.http.permissions import require_staff_permission
from foundation.http.validation import body, read
from foundation.http.views import JSONResponse, Request, Response, View, burst
from foundation.lazy_texts import mark
from foundation.rates import throttling
from foundation.scopes import Resource


class PublicView(View):
    """A view that needs no account and ignores any access token; no API key may call it."""

    resource = Resource.NONE
    authentication_classes = [APIKey]
    permission_classes = [AllowAny]


class Users(PublicView):
    @extend_schema(
        operation_id="register",
        summary="Register an account",
        request=RegisterInput,
        responses={201: AccountBody},
        refused={403: ["registration_off"], 429: ["throttled"]},
    )
    @burst
    async def post(self, request: Request) -> JSONResponse:
        """At most 60 registrations per hour and address; of IPv6 the first 64 bits count."""
        accounts.require_registration()
        given = read(RegisterInput, request)
        address = client_address.from_request(request)
        counted = [(throttling.REGISTRATIONS, throttling.network_of_address(address))]
        await run_in_thread(throttling.count_attempt, counted, group="registrations")
        register = partial(accounts.register, **given.model_dump())
        user = await password_hashing.run_in_turn(register, address=address)
        return JSONResponse(body(AccountBody, user), status=201)


class OwnAccount(View):
    resource = Resource.NONE

    @extend_schema(operation_id="getMe", summary="The caller's own account", responses=OwnAccountBody)
    def get(self, request: Request) -> Response:
        """The account of the access token."""
        return Response(body(OwnAccountBody, _own_account(request)))


class OneUser(View):
    resource = Resource.ACCOUNTS

    @extend_schema(
        operation_id="getAccount",
        summary="One account (staff)",
        responses={200: OneAccountBody},
        refused={403: ["permission_denied"], 404: ["not_found"]},
    )
    def get(self, request: Request, user_id: int) -> Response:
        """Customers read their own at `/users/me`."""
        require_staff_permission(request, "auth.view_user")
        account = required(
            User.objects.select_related("external_identity").filter(pk=user_id).first(),
            mark("There is no account {account_id}.", account_id=user_id),
        )
        identity = getattr(account, "external_identity", None)
        return Response(
            body(
                OneAccountBody,
                account,
                external_id=identity.external_id if identity else None,
                created_at=account.date_joined,
                disabled_at=accounts.disabled_at(account),
            )
        )


class OwnPassword(View):
    resource = Resource.NONE

    @extend_schema(
        operation_id="changePassword",
        summary="Change the caller's own password",
        request=ChangePasswordInput,
        responses={204: None},
        refused={429: ["throttled"]},
    )
    @burst
    async def post(self, request: Request) -> JSONResponse:
        """The account's other sign-ins end: their refresh tokens at once, access tokens within five seconds.

        The caller's goes on; so do API keys. A `current` that is not the account's password is 400 with the
        code `wrong` at this field, and counts as an attempt to sign in.
        """
        given = read(ChangePasswordInput, request)
        address = client_address.from_request(request)
        account = await run_in_thread(_own_account, request, group="sign-ins")
        change = partial(
            passwords.change,
            account=account,
            **given.model_dump(),
            address=address,
            family=getattr(request.user, "family", ""),
        )
        await sign_ins.run_sign_in(change, username=account.get_username(), address=address)
        return JSONResponse(status=204)


class SignIn(PublicView):
    @extend_schema(
        operation_id="signIn",
        summary="Sign in by name and password",
        request=SignInInput,
        responses={200: TokensBody},
        refused={
            401: ["invalid_credentials", "otp_required", "otp_invalid"],
            403: ["registration_off"],
            429: ["throttled"],
        },
    )
    @burst
    async def post(self, request: Request) -> JSONResponse:
        """A staff account needs `otp`: the code of its authenticator app, or one of its backup codes.

        `otp_required` and `otp_invalid` are answered to the right password only. Each code is accepted once.
        After wrong ones none is looked at for a while: 429. A staff account without an authenticator app
        sets one up at `/admin/`.

        At most 10 attempts per minute for a username from one address, and 60 per minute and address.

        Attempts for one username from many addresses are limited only above 100 per minute, and not for
        addresses that signed in to it recently. Of IPv6 the first 64 bits count.
        """
        given = read(SignInInput, request)
        address = client_address.from_request(request)

        def sign_in() -> JSONResponse:
            signed_in = sign_ins.sign_in(**given.model_dump(), address=address)
            device_id = signed_in.verified.device_id if signed_in.verified else None
            return JSONResponse(
                token_pairs.create_token_pair(signed_in.account, device_id=device_id)._asdict()
            )

        return await sign_ins.run_sign_in(sign_in, username=given.username, address=address)


class Refresh(PublicView):
    @extend_schema(
        operation_id="refreshTokens",
        summary="Exchange a refresh token for a new pair",
        request=RefreshInput,
        responses={200: TokensBody},
        refused={401: ["token_invalid"], 429: ["throttled"]},
    )
    def post(self, request: Request) -> Response:
        """Refresh tokens rotate: each is valid for one use.

        A used token is refused; a reuse more than 10 s later also revokes all tokens of its sign-in. At most
        60 refreshes per minute and account; a token of a throttled call stays valid. A staff account's token
        of a sign-in without a code is refused once it needs one.
        """
        return Response(token_pairs.rotate(read(RefreshInput, request).refresh)._asdict())


class SignOut(View):
    resource = Resource.NONE

    @extend_schema(
        operation_id="signOut", summary="Revoke a refresh token", request=RefreshInput, responses={204: None}
    )
    def post(self, request: Request) -> Response:
        """Revokes the caller's refresh token and all of the same sign-in; it can be repeated."""
        token_pairs.revoke(read(RefreshInput, request).refresh, account_id=account_id(request))
        return Response(status=204)


def _own_account(request: Request) -> User:
    user = User.objects.filter(pk=account_id(request)).first()
    if user is None:
        raise TokenInvalid
    return user
