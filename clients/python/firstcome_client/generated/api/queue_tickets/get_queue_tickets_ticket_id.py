from http import HTTPStatus
from typing import Any
from urllib.parse import quote
from uuid import UUID

import httpx

from ... import errors
from ...client import AuthenticatedClient, Client
from ...models.problem import Problem
from ...models.ticket_body import TicketBody
from ...types import UNSET, Response, Unset


def _get_kwargs(
    ticket_id: UUID,
    *,
    prefer: str | Unset = UNSET,
    firstcome_account: str | Unset = UNSET,
) -> dict[str, Any]:
    headers: dict[str, Any] = {}
    if not isinstance(prefer, Unset):
        headers["Prefer"] = prefer

    if not isinstance(firstcome_account, Unset):
        headers["Firstcome-Account"] = firstcome_account

    _kwargs: dict[str, Any] = {
        "method": "get",
        "url": "/api/v1/queue-tickets/{ticket_id}".format(
            ticket_id=quote(str(ticket_id), safe=""),
        ),
    }

    _kwargs["headers"] = headers
    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Problem | TicketBody | None:
    if response.status_code == 200:
        response_200 = TicketBody.from_dict(response.json())

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
) -> Response[Problem | TicketBody]:
    return Response(
        status_code=HTTPStatus(response.status_code),
        content=response.content,
        headers=response.headers,
        parsed=_parse_response(client=client, response=response),
    )


def sync_detailed(
    ticket_id: UUID,
    *,
    client: AuthenticatedClient,
    prefer: str | Unset = UNSET,
    firstcome_account: str | Unset = UNSET,
) -> Response[Problem | TicketBody]:
    """One queue ticket

     Of the caller; staff see the tickets of all accounts. It waits, or is settled for good. With
    `Prefer: wait=N` the answer comes once it is settled, after N seconds at most.

    Args:
        ticket_id (UUID):
        prefer (str | Unset):
        firstcome_account (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Problem | TicketBody]
    """

    kwargs = _get_kwargs(
        ticket_id=ticket_id,
        prefer=prefer,
        firstcome_account=firstcome_account,
    )

    response = client.get_httpx_client().request(
        **kwargs,
    )

    return _build_response(client=client, response=response)


def sync(
    ticket_id: UUID,
    *,
    client: AuthenticatedClient,
    prefer: str | Unset = UNSET,
    firstcome_account: str | Unset = UNSET,
) -> Problem | TicketBody | None:
    """One queue ticket

     Of the caller; staff see the tickets of all accounts. It waits, or is settled for good. With
    `Prefer: wait=N` the answer comes once it is settled, after N seconds at most.

    Args:
        ticket_id (UUID):
        prefer (str | Unset):
        firstcome_account (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Problem | TicketBody
    """

    return sync_detailed(
        ticket_id=ticket_id,
        client=client,
        prefer=prefer,
        firstcome_account=firstcome_account,
    ).parsed


async def asyncio_detailed(
    ticket_id: UUID,
    *,
    client: AuthenticatedClient,
    prefer: str | Unset = UNSET,
    firstcome_account: str | Unset = UNSET,
) -> Response[Problem | TicketBody]:
    """One queue ticket

     Of the caller; staff see the tickets of all accounts. It waits, or is settled for good. With
    `Prefer: wait=N` the answer comes once it is settled, after N seconds at most.

    Args:
        ticket_id (UUID):
        prefer (str | Unset):
        firstcome_account (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Problem | TicketBody]
    """

    kwargs = _get_kwargs(
        ticket_id=ticket_id,
        prefer=prefer,
        firstcome_account=firstcome_account,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    ticket_id: UUID,
    *,
    client: AuthenticatedClient,
    prefer: str | Unset = UNSET,
    firstcome_account: str | Unset = UNSET,
) -> Problem | TicketBody | None:
    """One queue ticket

     Of the caller; staff see the tickets of all accounts. It waits, or is settled for good. With
    `Prefer: wait=N` the answer comes once it is settled, after N seconds at most.

    Args:
        ticket_id (UUID):
        prefer (str | Unset):
        firstcome_account (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Problem | TicketBody
    """

    return (
        await asyncio_detailed(
            ticket_id=ticket_id,
            client=client,
            prefer=prefer,
            firstcome_account=firstcome_account,
        )
    ).parsed
