from http import HTTPStatus
from typing import Any

import httpx

from ... import errors
from ...client import AuthenticatedClient, Client
from ...models.entry_body import EntryBody
from ...models.grant_input import GrantInput
from ...models.problem import Problem
from ...types import UNSET, Response, Unset


def _get_kwargs(
    *,
    body: GrantInput,
    idempotency_key: str,
    firstcome_account: str | Unset = UNSET,
) -> dict[str, Any]:
    headers: dict[str, Any] = {}
    headers["Idempotency-Key"] = idempotency_key

    if not isinstance(firstcome_account, Unset):
        headers["Firstcome-Account"] = firstcome_account

    _kwargs: dict[str, Any] = {
        "method": "post",
        "url": "/api/v1/wallet/grants",
    }

    _kwargs["json"] = body.to_dict()

    headers["Content-Type"] = "application/json"

    _kwargs["headers"] = headers
    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> EntryBody | Problem | None:
    if response.status_code == 201:
        response_201 = EntryBody.from_dict(response.json())

        return response_201

    if response.status_code == 400:
        response_400 = Problem.from_dict(response.json())

        return response_400

    if response.status_code == 401:
        response_401 = Problem.from_dict(response.json())

        return response_401

    if response.status_code == 403:
        response_403 = Problem.from_dict(response.json())

        return response_403

    if response.status_code == 404:
        response_404 = Problem.from_dict(response.json())

        return response_404

    if response.status_code == 408:
        response_408 = Problem.from_dict(response.json())

        return response_408

    if response.status_code == 409:
        response_409 = Problem.from_dict(response.json())

        return response_409

    if response.status_code == 413:
        response_413 = Problem.from_dict(response.json())

        return response_413

    if response.status_code == 415:
        response_415 = Problem.from_dict(response.json())

        return response_415

    if response.status_code == 422:
        response_422 = Problem.from_dict(response.json())

        return response_422

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
) -> Response[EntryBody | Problem]:
    return Response(
        status_code=HTTPStatus(response.status_code),
        content=response.content,
        headers=response.headers,
        parsed=_parse_response(client=client, response=response),
    )


def sync_detailed(
    *,
    client: AuthenticatedClient,
    body: GrantInput,
    idempotency_key: str,
    firstcome_account: str | Unset = UNSET,
) -> Response[EntryBody | Problem]:
    """Give an account points (staff)

     An account that doesn't exist or is disabled is 404 `not_found`, the caller's own 403 `own_account`.
    More than an operator may grant at once or in a day is 403 `approval_required`, and nothing is
    recorded: it is asked for on the account's page in the admin.

    Args:
        idempotency_key (str):
        firstcome_account (str | Unset):
        body (GrantInput):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[EntryBody | Problem]
    """

    kwargs = _get_kwargs(
        body=body,
        idempotency_key=idempotency_key,
        firstcome_account=firstcome_account,
    )

    response = client.get_httpx_client().request(
        **kwargs,
    )

    return _build_response(client=client, response=response)


def sync(
    *,
    client: AuthenticatedClient,
    body: GrantInput,
    idempotency_key: str,
    firstcome_account: str | Unset = UNSET,
) -> EntryBody | Problem | None:
    """Give an account points (staff)

     An account that doesn't exist or is disabled is 404 `not_found`, the caller's own 403 `own_account`.
    More than an operator may grant at once or in a day is 403 `approval_required`, and nothing is
    recorded: it is asked for on the account's page in the admin.

    Args:
        idempotency_key (str):
        firstcome_account (str | Unset):
        body (GrantInput):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        EntryBody | Problem
    """

    return sync_detailed(
        client=client,
        body=body,
        idempotency_key=idempotency_key,
        firstcome_account=firstcome_account,
    ).parsed


async def asyncio_detailed(
    *,
    client: AuthenticatedClient,
    body: GrantInput,
    idempotency_key: str,
    firstcome_account: str | Unset = UNSET,
) -> Response[EntryBody | Problem]:
    """Give an account points (staff)

     An account that doesn't exist or is disabled is 404 `not_found`, the caller's own 403 `own_account`.
    More than an operator may grant at once or in a day is 403 `approval_required`, and nothing is
    recorded: it is asked for on the account's page in the admin.

    Args:
        idempotency_key (str):
        firstcome_account (str | Unset):
        body (GrantInput):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[EntryBody | Problem]
    """

    kwargs = _get_kwargs(
        body=body,
        idempotency_key=idempotency_key,
        firstcome_account=firstcome_account,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    *,
    client: AuthenticatedClient,
    body: GrantInput,
    idempotency_key: str,
    firstcome_account: str | Unset = UNSET,
) -> EntryBody | Problem | None:
    """Give an account points (staff)

     An account that doesn't exist or is disabled is 404 `not_found`, the caller's own 403 `own_account`.
    More than an operator may grant at once or in a day is 403 `approval_required`, and nothing is
    recorded: it is asked for on the account's page in the admin.

    Args:
        idempotency_key (str):
        firstcome_account (str | Unset):
        body (GrantInput):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        EntryBody | Problem
    """

    return (
        await asyncio_detailed(
            client=client,
            body=body,
            idempotency_key=idempotency_key,
            firstcome_account=firstcome_account,
        )
    ).parsed
