from http import HTTPStatus
from typing import Any

import httpx

from ... import errors
from ...client import AuthenticatedClient, Client
from ...models.coupon_body import CouponBody
from ...models.issue_coupon_input import IssueCouponInput
from ...models.problem import Problem
from ...models.ticket_body import TicketBody
from ...types import UNSET, Response, Unset


def _get_kwargs(
    *,
    body: IssueCouponInput,
    firstcome_account: str | Unset = UNSET,
) -> dict[str, Any]:
    headers: dict[str, Any] = {}
    if not isinstance(firstcome_account, Unset):
        headers["Firstcome-Account"] = firstcome_account

    _kwargs: dict[str, Any] = {
        "method": "post",
        "url": "/api/v1/coupons",
    }

    _kwargs["json"] = body.to_dict()

    headers["Content-Type"] = "application/json"

    _kwargs["headers"] = headers
    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> CouponBody | Problem | TicketBody | None:
    if response.status_code == 200:
        response_200 = CouponBody.from_dict(response.json())

        return response_200

    if response.status_code == 201:
        response_201 = CouponBody.from_dict(response.json())

        return response_201

    if response.status_code == 202:
        response_202 = TicketBody.from_dict(response.json())

        return response_202

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

    if response.status_code == 429:
        response_429 = Problem.from_dict(response.json())

        return response_429

    if response.status_code == 502:
        response_502 = Problem.from_dict(response.json())

        return response_502

    if response.status_code == 503:
        response_503 = Problem.from_dict(response.json())

        return response_503

    if client.raise_on_unexpected_status:
        raise errors.UnexpectedStatus(response.status_code, response.content)
    else:
        return None


def _build_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Response[CouponBody | Problem | TicketBody]:
    return Response(
        status_code=HTTPStatus(response.status_code),
        content=response.content,
        headers=response.headers,
        parsed=_parse_response(client=client, response=response),
    )


def sync_detailed(
    *,
    client: AuthenticatedClient,
    body: IssueCouponInput,
    firstcome_account: str | Unset = UNSET,
) -> Response[CouponBody | Problem | TicketBody]:
    """Issue the caller's coupon of a campaign

     Staff may name the `user` to issue to; an account that doesn't exist or is disabled is 404
    `not_found`, and their own 403 `own_account`. A campaign with the strategy `queue` answers 202 with
    a ticket, and the same one until it is settled; after a `failed` one, with a new one at the end of
    the queue. Before it opens, a campaign issues neither coupons nor tickets, and `Retry-After` says
    when it opens. While staff have paused it, it issues neither: an account gets the coupon or the
    waiting ticket that it has. A campaign whose pool has fewer codes than its `quantity` is `sold_out`
    after its last code.

    Args:
        firstcome_account (str | Unset):
        body (IssueCouponInput): `user` is for staff, who issue to another account.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[CouponBody | Problem | TicketBody]
    """

    kwargs = _get_kwargs(
        body=body,
        firstcome_account=firstcome_account,
    )

    response = client.get_httpx_client().request(
        **kwargs,
    )

    return _build_response(client=client, response=response)


def sync(
    *,
    client: AuthenticatedClient,
    body: IssueCouponInput,
    firstcome_account: str | Unset = UNSET,
) -> CouponBody | Problem | TicketBody | None:
    """Issue the caller's coupon of a campaign

     Staff may name the `user` to issue to; an account that doesn't exist or is disabled is 404
    `not_found`, and their own 403 `own_account`. A campaign with the strategy `queue` answers 202 with
    a ticket, and the same one until it is settled; after a `failed` one, with a new one at the end of
    the queue. Before it opens, a campaign issues neither coupons nor tickets, and `Retry-After` says
    when it opens. While staff have paused it, it issues neither: an account gets the coupon or the
    waiting ticket that it has. A campaign whose pool has fewer codes than its `quantity` is `sold_out`
    after its last code.

    Args:
        firstcome_account (str | Unset):
        body (IssueCouponInput): `user` is for staff, who issue to another account.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        CouponBody | Problem | TicketBody
    """

    return sync_detailed(
        client=client,
        body=body,
        firstcome_account=firstcome_account,
    ).parsed


async def asyncio_detailed(
    *,
    client: AuthenticatedClient,
    body: IssueCouponInput,
    firstcome_account: str | Unset = UNSET,
) -> Response[CouponBody | Problem | TicketBody]:
    """Issue the caller's coupon of a campaign

     Staff may name the `user` to issue to; an account that doesn't exist or is disabled is 404
    `not_found`, and their own 403 `own_account`. A campaign with the strategy `queue` answers 202 with
    a ticket, and the same one until it is settled; after a `failed` one, with a new one at the end of
    the queue. Before it opens, a campaign issues neither coupons nor tickets, and `Retry-After` says
    when it opens. While staff have paused it, it issues neither: an account gets the coupon or the
    waiting ticket that it has. A campaign whose pool has fewer codes than its `quantity` is `sold_out`
    after its last code.

    Args:
        firstcome_account (str | Unset):
        body (IssueCouponInput): `user` is for staff, who issue to another account.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[CouponBody | Problem | TicketBody]
    """

    kwargs = _get_kwargs(
        body=body,
        firstcome_account=firstcome_account,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    *,
    client: AuthenticatedClient,
    body: IssueCouponInput,
    firstcome_account: str | Unset = UNSET,
) -> CouponBody | Problem | TicketBody | None:
    """Issue the caller's coupon of a campaign

     Staff may name the `user` to issue to; an account that doesn't exist or is disabled is 404
    `not_found`, and their own 403 `own_account`. A campaign with the strategy `queue` answers 202 with
    a ticket, and the same one until it is settled; after a `failed` one, with a new one at the end of
    the queue. Before it opens, a campaign issues neither coupons nor tickets, and `Retry-After` says
    when it opens. While staff have paused it, it issues neither: an account gets the coupon or the
    waiting ticket that it has. A campaign whose pool has fewer codes than its `quantity` is `sold_out`
    after its last code.

    Args:
        firstcome_account (str | Unset):
        body (IssueCouponInput): `user` is for staff, who issue to another account.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        CouponBody | Problem | TicketBody
    """

    return (
        await asyncio_detailed(
            client=client,
            body=body,
            firstcome_account=firstcome_account,
        )
    ).parsed
