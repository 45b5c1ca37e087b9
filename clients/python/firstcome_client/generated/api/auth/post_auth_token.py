from http import HTTPStatus
from typing import Any

import httpx

from ... import errors
from ...client import AuthenticatedClient, Client
from ...models.problem import Problem
from ...models.sign_in_input import SignInInput
from ...models.tokens_body import TokensBody
from ...types import Response


def _get_kwargs(
    *,
    body: SignInInput,
) -> dict[str, Any]:
    headers: dict[str, Any] = {}

    _kwargs: dict[str, Any] = {
        "method": "post",
        "url": "/api/v1/auth/token",
    }

    _kwargs["json"] = body.to_dict()

    headers["Content-Type"] = "application/json"

    _kwargs["headers"] = headers
    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Problem | TokensBody | None:
    if response.status_code == 200:
        response_200 = TokensBody.from_dict(response.json())

        return response_200

    if response.status_code == 400:
        response_400 = Problem.from_dict(response.json())

        return response_400

    if response.status_code == 401:
        response_401 = Problem.from_dict(response.json())

        return response_401

    if response.status_code == 408:
        response_408 = Problem.from_dict(response.json())

        return response_408

    if response.status_code == 413:
        response_413 = Problem.from_dict(response.json())

        return response_413

    if response.status_code == 415:
        response_415 = Problem.from_dict(response.json())

        return response_415

    if response.status_code == 429:
        response_429 = Problem.from_dict(response.json())

        return response_429

    if response.status_code == 503:
        response_503 = Problem.from_dict(response.json())

        return response_503

    if client.raise_on_unexpected_status:
        raise errors.UnexpectedStatus(response.status_code, response.content)
    else:
        return None


def _build_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Response[Problem | TokensBody]:
    return Response(
        status_code=HTTPStatus(response.status_code),
        content=response.content,
        headers=response.headers,
        parsed=_parse_response(client=client, response=response),
    )


def sync_detailed(
    *,
    client: AuthenticatedClient | Client,
    body: SignInInput,
) -> Response[Problem | TokensBody]:
    """Sign in by name and password

     A staff account needs `otp`: the code of its authenticator app, or one of its backup codes.

    `otp_required` and `otp_invalid` are answered to the right password only. Each code is accepted
    once.
    After wrong ones none is looked at for a while: 429. A staff account without an authenticator app
    sets one up at `/admin/`.

    At most 10 attempts per minute for a username from one address, and 60 per minute and address.

    Attempts for one username from many addresses are limited only above 100 per minute, and not for
    addresses that signed in to it recently. Of IPv6 the first 64 bits count.

    Args:
        body (SignInInput): A username and its password; a staff account needs a one-time code, or
            a backup code, too.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Problem | TokensBody]
    """

    kwargs = _get_kwargs(
        body=body,
    )

    response = client.get_httpx_client().request(
        **kwargs,
    )

    return _build_response(client=client, response=response)


def sync(
    *,
    client: AuthenticatedClient | Client,
    body: SignInInput,
) -> Problem | TokensBody | None:
    """Sign in by name and password

     A staff account needs `otp`: the code of its authenticator app, or one of its backup codes.

    `otp_required` and `otp_invalid` are answered to the right password only. Each code is accepted
    once.
    After wrong ones none is looked at for a while: 429. A staff account without an authenticator app
    sets one up at `/admin/`.

    At most 10 attempts per minute for a username from one address, and 60 per minute and address.

    Attempts for one username from many addresses are limited only above 100 per minute, and not for
    addresses that signed in to it recently. Of IPv6 the first 64 bits count.

    Args:
        body (SignInInput): A username and its password; a staff account needs a one-time code, or
            a backup code, too.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Problem | TokensBody
    """

    return sync_detailed(
        client=client,
        body=body,
    ).parsed


async def asyncio_detailed(
    *,
    client: AuthenticatedClient | Client,
    body: SignInInput,
) -> Response[Problem | TokensBody]:
    """Sign in by name and password

     A staff account needs `otp`: the code of its authenticator app, or one of its backup codes.

    `otp_required` and `otp_invalid` are answered to the right password only. Each code is accepted
    once.
    After wrong ones none is looked at for a while: 429. A staff account without an authenticator app
    sets one up at `/admin/`.

    At most 10 attempts per minute for a username from one address, and 60 per minute and address.

    Attempts for one username from many addresses are limited only above 100 per minute, and not for
    addresses that signed in to it recently. Of IPv6 the first 64 bits count.

    Args:
        body (SignInInput): A username and its password; a staff account needs a one-time code, or
            a backup code, too.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Problem | TokensBody]
    """

    kwargs = _get_kwargs(
        body=body,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    *,
    client: AuthenticatedClient | Client,
    body: SignInInput,
) -> Problem | TokensBody | None:
    """Sign in by name and password

     A staff account needs `otp`: the code of its authenticator app, or one of its backup codes.

    `otp_required` and `otp_invalid` are answered to the right password only. Each code is accepted
    once.
    After wrong ones none is looked at for a while: 429. A staff account without an authenticator app
    sets one up at `/admin/`.

    At most 10 attempts per minute for a username from one address, and 60 per minute and address.

    Attempts for one username from many addresses are limited only above 100 per minute, and not for
    addresses that signed in to it recently. Of IPv6 the first 64 bits count.

    Args:
        body (SignInInput): A username and its password; a staff account needs a one-time code, or
            a backup code, too.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Problem | TokensBody
    """

    return (
        await asyncio_detailed(
            client=client,
            body=body,
        )
    ).parsed
