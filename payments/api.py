"""The HTTP edge of wallets and payments. Calls that charge a card are in `orders`, whose sagas do it."""

from functools import partial
from uuid import UUID

from drf_spectacular.utils import OpenApiParameter, extend_schema

from payments import ledger, points_grants, schemas, selectors
from payments.models import Entry
from shop.http import json_format, keyed_calls
from shop.http.openapi import api_doc
from shop.http.pagination import paginate, paginate_for_staff
from shop.http.permissions import has_staff_permission, require_staff_permission
from shop.http.validation import read, read_query
from shop.http.views import Request, Response, View
from shop.idempotency.recorded_answers import Answer

USER = OpenApiParameter("user", api_doc.POSITIVE, description="Staff: only this account's.")
ORDER = OpenApiParameter("order", UUID, description="Only this order's.")


class Wallet(View):
    @extend_schema(summary="The caller's points", responses=schemas.WalletBody)
    def get(self, request: Request) -> Response:
        return Response(schemas.wallet_body(ledger.balance_amount(_caller_id(request))))


class WalletEntries(View):
    @extend_schema(
        summary="The entries of the caller's wallet, newest first",
        parameters=api_doc.PAGING,
        responses=api_doc.Page[schemas.EntryBody],
    )
    def get(self, request: Request) -> Response:
        return paginate(request, selectors.entries(user_id=_caller_id(request)), schemas.entry_body)


class Grants(View):
    @extend_schema(
        summary="Give an account points (staff)",
        description="An account that doesn't exist or is disabled is 404 `not_found`.",
        parameters=[api_doc.IDEMPOTENCY_KEY],
        request=schemas.GrantInput,
        responses={201: schemas.EntryBody}
        | api_doc.refusals({403: ["permission_denied"], 404: ["not_found"]}),
    )
    def post(self, request: Request) -> Response:
        require_staff_permission(request, "payments.add_transfer")
        call = keyed_calls.read_keyed_call(request, _grant_answer)
        data = read(schemas.GrantInput, request)
        outcome = keyed_calls.perform_blocking(
            call,
            lambda: points_grants.grant(
                user_id=data.user, amount=data.amount, reason=data.reason, keyed=call
            ),
        )
        return keyed_calls.respond_recorded(call, outcome)


class ListPayments(View):
    """The GET of `/payments`; the URL belongs to `orders`, which starts payments there."""

    @extend_schema(
        summary="The caller's payments, newest first",
        description="Staff see all payments.",
        parameters=[USER, ORDER, *api_doc.PAGING],
        responses=api_doc.Page[schemas.PaymentBody],
    )
    def get(self, request: Request) -> Response:
        data = read_query(schemas.FindPaymentsQuery, request)
        account_id = _allowed_account_id(request)
        found = selectors.payments(account_id=account_id, user_id=data.user, order_id=data.order)
        body = partial(schemas.payment_body, language=request.language)
        return (paginate_for_staff if account_id is None else paginate)(request, found, body)


class OnePayment(View):
    @extend_schema(
        summary="One payment",
        description="Staff see all payments.",
        responses=schemas.PaymentBody,
    )
    def get(self, request: Request, payment_id: UUID) -> Response:
        found = selectors.payment(payment_id=payment_id, account_id=_allowed_account_id(request))
        return Response(schemas.payment_body(found, request.language))


def _allowed_account_id(request: Request) -> int | None:
    """The account whose payments the caller may see; None for all."""
    return None if has_staff_permission(request, "payments.view_payment") else _caller_id(request)


def _caller_id(request: Request) -> int:
    account_id = request.user.pk
    # The permission check refuses anonymous callers before this.
    assert account_id is not None
    return account_id


def _grant_answer(entry: Entry) -> Answer:
    return Answer(status=201, body=json_format.dump(schemas.entry_body(entry)))
