"""Operators' pages: the change page of every model opens."""

import pytest
from django.contrib import admin
from django.db.models import Model
from django.test import Client
from django.urls import reverse

from shop.tests.factories import SuperuserFactory

pytestmark = pytest.mark.django_db


@pytest.mark.usefixtures("_a_row_of_every_model")
def test_the_change_page_of_every_model_opens() -> None:
    client = Client(raise_request_exception=False)
    client.force_login(SuperuserFactory.create())

    statuses = {model.__name__: _status_of_page(client, model) for model in admin.site._registry}

    assert {name: status for name, status in statuses.items() if status != 200} == {}


def _status_of_page(client: Client, model: type[Model]) -> int:
    row = model._default_manager.first()
    assert row is not None, f"the fixture creates no row of {model}"
    view = f"admin:{model._meta.app_label}_{model._meta.model_name}_change"
    return client.get(reverse(view, args=[row.pk])).status_code
