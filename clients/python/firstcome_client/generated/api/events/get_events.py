from http import HTTPStatus
from typing import Any

import httpx

from ... import errors
from ...client import AuthenticatedClient, Client
from ...models.feed_page_body import FeedPageBody
from ...models.problem import Problem
from ...types import UNSET, Response, Unset


def _get_kwargs(
    *,
    after: str | Unset = UNSET,
    limit: int | Unset = UNSET,
    type_: str | Unset = UNSET,
    prefer: str | Unset = UNSET,
    firstcome_account: str | Unset = UNSET,
) -> dict[str, Any]:
    headers: dict[str, Any] = {}
    if not isinstance(prefer, Unset):
        headers["Prefer"] = prefer

    if not isinstance(firstcome_account, Unset):
        headers["Firstcome-Account"] = firstcome_account

    params: dict[str, Any] = {}

    params["after"] = after

    params["limit"] = limit

    params["type"] = type_

    params = {k: v for k, v in params.items() if v is not UNSET and v is not None}

    _kwargs: dict[str, Any] = {
        "method": "get",
        "url": "/api/v1/events",
        "params": params,
    }

    _kwargs["headers"] = headers
    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> FeedPageBody | Problem | None:
    if response.status_code == 200:
        response_200 = FeedPageBody.from_dict(response.json())

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

    if response.status_code == 410:
        response_410 = Problem.from_dict(response.json())

        return response_410

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
) -> Response[FeedPageBody | Problem]:
    return Response(
        status_code=HTTPStatus(response.status_code),
        content=response.content,
        headers=response.headers,
        parsed=_parse_response(client=client, response=response),
    )


def sync_detailed(
    *,
    client: AuthenticatedClient,
    after: str | Unset = UNSET,
    limit: int | Unset = UNSET,
    type_: str | Unset = UNSET,
    prefer: str | Unset = UNSET,
    firstcome_account: str | Unset = UNSET,
) -> Response[FeedPageBody | Problem]:
    """What happened, each event once (staff)

     A reader sends the `next` of each answer as `after` of the following call, and gets every event
    once, in an order that never changes: positions are given after the commit, so none is skipped. An
    event that is sent twice, because an answer was lost, has the same `id`. Events are kept for seven
    days at least; without `after` the oldest is the first. The events of an order come in the sequence
    in which they happened. With `Prefer: wait=N` a page without events is answered once there is one,
    or after N seconds.

    Args:
        after (str | Unset):
        limit (int | Unset):
        type_ (str | Unset):
        prefer (str | Unset):
        firstcome_account (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[FeedPageBody | Problem]
    """

    kwargs = _get_kwargs(
        after=after,
        limit=limit,
        type_=type_,
        prefer=prefer,
        firstcome_account=firstcome_account,
    )

    response = client.get_httpx_client().request(
        **kwargs,
    )

    return _build_response(client=client, response=response)


def sync(
    *,
    client: AuthenticatedClient,
    after: str | Unset = UNSET,
    limit: int | Unset = UNSET,
    type_: str | Unset = UNSET,
    prefer: str | Unset = UNSET,
    firstcome_account: str | Unset = UNSET,
) -> FeedPageBody | Problem | None:
    """What happened, each event once (staff)

     A reader sends the `next` of each answer as `after` of the following call, and gets every event
    once, in an order that never changes: positions are given after the commit, so none is skipped. An
    event that is sent twice, because an answer was lost, has the same `id`. Events are kept for seven
    days at least; without `after` the oldest is the first. The events of an order come in the sequence
    in which they happened. With `Prefer: wait=N` a page without events is answered once there is one,
    or after N seconds.

    Args:
        after (str | Unset):
        limit (int | Unset):
        type_ (str | Unset):
        prefer (str | Unset):
        firstcome_account (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        FeedPageBody | Problem
    """

    return sync_detailed(
        client=client,
        after=after,
        limit=limit,
        type_=type_,
        prefer=prefer,
        firstcome_account=firstcome_account,
    ).parsed


async def asyncio_detailed(
    *,
    client: AuthenticatedClient,
    after: str | Unset = UNSET,
    limit: int | Unset = UNSET,
    type_: str | Unset = UNSET,
    prefer: str | Unset = UNSET,
    firstcome_account: str | Unset = UNSET,
) -> Response[FeedPageBody | Problem]:
    """What happened, each event once (staff)

     A reader sends the `next` of each answer as `after` of the following call, and gets every event
    once, in an order that never changes: positions are given after the commit, so none is skipped. An
    event that is sent twice, because an answer was lost, has the same `id`. Events are kept for seven
    days at least; without `after` the oldest is the first. The events of an order come in the sequence
    in which they happened. With `Prefer: wait=N` a page without events is answered once there is one,
    or after N seconds.

    Args:
        after (str | Unset):
        limit (int | Unset):
        type_ (str | Unset):
        prefer (str | Unset):
        firstcome_account (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[FeedPageBody | Problem]
    """

    kwargs = _get_kwargs(
        after=after,
        limit=limit,
        type_=type_,
        prefer=prefer,
        firstcome_account=firstcome_account,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    *,
    client: AuthenticatedClient,
    after: str | Unset = UNSET,
    limit: int | Unset = UNSET,
    type_: str | Unset = UNSET,
    prefer: str | Unset = UNSET,
    firstcome_account: str | Unset = UNSET,
) -> FeedPageBody | Problem | None:
    """What happened, each event once (staff)

     A reader sends the `next` of each answer as `after` of the following call, and gets every event
    once, in an order that never changes: positions are given after the commit, so none is skipped. An
    event that is sent twice, because an answer was lost, has the same `id`. Events are kept for seven
    days at least; without `after` the oldest is the first. The events of an order come in the sequence
    in which they happened. With `Prefer: wait=N` a page without events is answered once there is one,
    or after N seconds.

    Args:
        after (str | Unset):
        limit (int | Unset):
        type_ (str | Unset):
        prefer (str | Unset):
        firstcome_account (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        FeedPageBody | Problem
    """

    return (
        await asyncio_detailed(
            client=client,
            after=after,
            limit=limit,
            type_=type_,
            prefer=prefer,
            firstcome_account=firstcome_account,
        )
    ).parsed
