"""The products that a campaign's discount counts over; the foreign key leads to the table of their app."""

from collections.abc import Collection, Iterator
from typing import Any

from coupons.models import Campaign, CampaignProduct
from coupons.shared_codes import fault
from shop.lazy_texts import Text, mark as _

MOST_PRODUCTS = 1_000
UNKNOWN_SHOWN = 10


def faults(product_ids: Collection[int]) -> Iterator[dict[str, Text]]:
    """What is wrong with these products of a campaign: too many, or unknown ones."""
    if len(product_ids) > MOST_PRODUCTS:
        detail = _("A campaign may name {most} products at most.", most=MOST_PRODUCTS)
        yield fault("products", "too_many", detail)
        return
    known = set(_products().filter(pk__in=product_ids).values_list("pk", flat=True)) if product_ids else set()
    unknown = [str(product_id) for product_id in product_ids if product_id not in known]
    if unknown:
        shown = ", ".join(unknown[:UNKNOWN_SHOWN])
        yield fault("products", "unknown", _("There are no products {products}.", products=shown))


def replace(campaign: Campaign, product_ids: Collection[int]) -> None:
    """Have the discount count over these products' lines, or over all; part of the campaign's transaction."""
    CampaignProduct.objects.filter(campaign=campaign).exclude(product_id__in=product_ids).delete()
    present = CampaignProduct.objects.filter(campaign=campaign).values_list("product_id", flat=True)
    new = set(product_ids) - set(present)
    CampaignProduct.objects.bulk_create(
        CampaignProduct(campaign=campaign, product_id=product_id) for product_id in sorted(new)
    )
    # What a list has read ahead is out of date.
    getattr(campaign, "_prefetched_objects_cache", {}).pop("discounted_products", None)


def skus(product_ids: Collection[int]) -> list[str]:
    """The SKUs of these products, in order."""
    return sorted(_products().filter(pk__in=product_ids).values_list("sku", flat=True)) if product_ids else []


def ids_of_skus(wanted: Collection[str]) -> dict[str, int]:
    """The ids of the products with these SKUs, by SKU; unknown ones are absent."""
    return dict(_products().filter(sku__in=wanted).values_list("sku", "pk")) if wanted else {}


def _products() -> Any:
    field: Any = CampaignProduct._meta.get_field("product")
    return field.related_model._default_manager
