from http import HTTPStatus
from typing import Any
from urllib.parse import quote
from uuid import UUID

import httpx

from ... import errors
from ...client import AuthenticatedClient, Client
from ...models.problem import Problem
from ...models.timeline_body import TimelineBody
from ...types import UNSET, Response, Unset


def _get_kwargs(
    order_id: UUID,
    *,
    firstcome_account: str | Unset = UNSET,
) -> dict[str, Any]:
    headers: dict[str, Any] = {}
    if not isinstance(firstcome_account, Unset):
        headers["Firstcome-Account"] = firstcome_account

    _kwargs: dict[str, Any] = {
        "method": "get",
        "url": "/api/v1/orders/{order_id}/timeline".format(
            order_id=quote(str(order_id), safe=""),
        ),
    }

    _kwargs["headers"] = headers
    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Problem | TimelineBody | None:
    if response.status_code == 200:
        response_200 = TimelineBody.from_dict(response.json())

        return response_200

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
) -> Response[Problem | TimelineBody]:
    return Response(
        status_code=HTTPStatus(response.status_code),
        content=response.content,
        headers=response.headers,
        parsed=_parse_response(client=client, response=response),
    )


def sync_detailed(
    order_id: UUID,
    *,
    client: AuthenticatedClient,
    firstcome_account: str | Unset = UNSET,
) -> Response[Problem | TimelineBody]:
    """List every step and compensation of the order's payment, oldest first.

    `archived` is there where operators have archived months of this time, whose lines are not listed.
    Staff get the names of the files.

    Args:
        order_id (UUID):
        firstcome_account (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Problem | TimelineBody]
    """

    kwargs = _get_kwargs(
        order_id=order_id,
        firstcome_account=firstcome_account,
    )

    response = client.get_httpx_client().request(
        **kwargs,
    )

    return _build_response(client=client, response=response)


def sync(
    order_id: UUID,
    *,
    client: AuthenticatedClient,
    firstcome_account: str | Unset = UNSET,
) -> Problem | TimelineBody | None:
    """List every step and compensation of the order's payment, oldest first.

    `archived` is there where operators have archived months of this time, whose lines are not listed.
    Staff get the names of the files.

    Args:
        order_id (UUID):
        firstcome_account (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Problem | TimelineBody
    """

    return sync_detailed(
        order_id=order_id,
        client=client,
        firstcome_account=firstcome_account,
    ).parsed


async def asyncio_detailed(
    order_id: UUID,
    *,
    client: AuthenticatedClient,
    firstcome_account: str | Unset = UNSET,
) -> Response[Problem | TimelineBody]:
    """List every step and compensation of the order's payment, oldest first.

    `archived` is there where operators have archived months of this time, whose lines are not listed.
    Staff get the names of the files.

    Args:
        order_id (UUID):
        firstcome_account (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Problem | TimelineBody]
    """

    kwargs = _get_kwargs(
        order_id=order_id,
        firstcome_account=firstcome_account,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    order_id: UUID,
    *,
    client: AuthenticatedClient,
    firstcome_account: str | Unset = UNSET,
) -> Problem | TimelineBody | None:
    """List every step and compensation of the order's payment, oldest first.

    `archived` is there where operators have archived months of this time, whose lines are not listed.
    Staff get the names of the files.

    Args:
        order_id (UUID):
        firstcome_account (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Problem | TimelineBody
    """

    return (
        await asyncio_detailed(
            order_id=order_id,
            client=client,
            firstcome_account=firstcome_account,
        )
    ).parsed
