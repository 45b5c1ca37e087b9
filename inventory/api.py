"""The HTTP edge of products and stock."""

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.permissions import IsAuthenticatedOrReadOnly

from inventory import adjusting, bodies, products
from inventory.models import StockMovement
from inventory.products import Availability
from shop import idempotency, json_bodies, keyed_calls, schema
from shop.calls import Request, Response, View
from shop.idempotency import Answer
from shop.paging import page
from shop.permissions import is_staff_with, staff_may
from shop.reading import read, read_query

STAFF_ONLY = schema.refusals({403: ["permission_denied"]})
SEARCH = OpenApiParameter("search", str, description="Words that the sku or the name must hold.")
AVAILABILITY = OpenApiParameter("availability", str, enum=[one.value for one in Availability])


class Products(View):
    permission_classes = [IsAuthenticatedOrReadOnly]

    @extend_schema(
        summary="Find products",
        description="Staff see inactive ones too.",
        parameters=[SEARCH, AVAILABILITY, *schema.PAGING],
        responses=schema.Page[bodies.ProductBody],
    )
    def get(self, request: Request) -> Response:
        asked = read_query(bodies.FindProductsQuery, request)
        found = products.find(
            search=asked.search,
            with_availability=asked.availability,
            include_inactive=_sees_inactive(request),
        )
        return page(request, found, bodies.product_body, ordering="id")

    @extend_schema(
        summary="Create a product (staff)",
        parameters=[schema.LOCATION],
        request=bodies.CreateProductInput,
        responses={201: bodies.ProductBody} | STAFF_ONLY | schema.refusals({409: ["sku_exists"]}),
    )
    def post(self, request: Request) -> Response:
        staff_may(request, "inventory.add_product")
        asked = read(bodies.CreateProductInput, request)
        product = products.create(**asked.model_dump())
        address = f"{request.path}/{product.id}"
        return Response(bodies.product_body(product), status=201, headers={"Location": address})


class OneProduct(View):
    permission_classes = [IsAuthenticatedOrReadOnly]

    @extend_schema(
        summary="One product",
        description="An inactive one is there for staff only.",
        responses=bodies.ProductBody,
    )
    def get(self, request: Request, product_id: int) -> Response:
        product = products.get(product_id=product_id, include_inactive=_sees_inactive(request))
        return Response(bodies.product_body(product))

    @extend_schema(
        summary="Change a product (staff)",
        request=bodies.ChangeProductInput,
        responses={200: bodies.ProductBody} | STAFF_ONLY | schema.refusals({409: ["sku_exists"]}),
    )
    def patch(self, request: Request, product_id: int) -> Response:
        staff_may(request, "inventory.change_product")
        asked = read(bodies.ChangeProductInput, request)
        product = products.change(product_id=product_id, **asked.model_dump(exclude_none=True))
        return Response(bodies.product_body(product))


class StockAdjustments(View):
    @extend_schema(
        summary="Adjust what is on hand (staff)",
        parameters=[schema.IDEMPOTENCY_KEY],
        request=bodies.AdjustStockInput,
        responses={201: bodies.StockMovementBody}
        | STAFF_ONLY
        | schema.refusals({409: ["insufficient_stock"]}),
    )
    def post(self, request: Request, product_id: int) -> Response:
        staff_may(request, "inventory.add_stockmovement")
        call = keyed_calls.keyed(request, _created)
        asked = read(bodies.AdjustStockInput, request)

        def adjust() -> StockMovement:
            return adjusting.adjust(product_id=product_id, delta=asked.delta, reason=asked.reason)

        outcome = keyed_calls.perform(call, lambda: idempotency.once(call, adjust))
        return keyed_calls.respond_recorded(call, outcome)


class Stock(View):
    @extend_schema(
        summary="A product's stock (staff)",
        responses={200: bodies.StockBody} | STAFF_ONLY,
    )
    def get(self, request: Request, product_id: int) -> Response:
        staff_may(request, "inventory.view_product")
        return Response(bodies.stock_body(products.get(product_id=product_id, include_inactive=True)))


class StockMovements(View):
    @extend_schema(
        summary="The movements of a product's stock, newest first (staff)",
        parameters=schema.PAGING,
        responses={200: schema.Page[bodies.StockMovementBody]} | STAFF_ONLY,
    )
    def get(self, request: Request, product_id: int) -> Response:
        staff_may(request, "inventory.view_stockmovement")
        product = products.get(product_id=product_id, include_inactive=True)
        return page(request, product.movements.all(), bodies.movement_body)


def _created(movement: StockMovement) -> Answer:
    return Answer(status=201, body=json_bodies.dump(bodies.movement_body(movement)))


def _sees_inactive(request: Request) -> bool:
    return is_staff_with(request, "inventory.view_product")
