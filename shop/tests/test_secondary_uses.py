"""Where the code may read from a secondary: each place is listed here, and none of them decides anything."""

import ast
import functools
from pathlib import Path

from scripts.stack import places

APPS = ("shop", "orders", "coupons", "inventory", "payments", "sales")
READS = {"secondary.read", "read_elsewhere", "windows.read_elsewhere", "fetch", "windows.fetch"}
"""Functions that hand out the alias of the secondary, or read from it."""
MAY_READ = {
    "shop/http/pagination.py": {"paginate_for_staff"},
    "shop/admin_site.py": {"changelist_view"},
    "shop/backoffice/windows.py": {"read_elsewhere", "fetch", "between"},
    "shop/backoffice/list_exports.py": {"table_windows"},
    "shop/backoffice/campaign_page.py": {"_count"},
    "shop/backoffice/ledger_balance.py": {"read"},
    "shop/backoffice/sales_report.py": {"_products", "_campaign_names"},
    "shop/backoffice/sales_figures.py": {"_add_sales", "_add_refunds", "_add_late_entries", "_sum_entries"},
}
MAY_NAME_A_DATABASE = {
    "shop/http/pagination.py": {"paginate_for_staff", "paginate_queryset"},
    "shop/admin_site.py": {"get_queryset"},
    "shop/http/keyset_pages.py": {"read_page"},
    "shop/operators/journal_filters.py": {"narrow"},
    "shop/backoffice/windows.py": {"fetch", "_end"},
    "shop/backoffice/list_exports.py": {"_key_at"},
    "shop/backoffice/ledger_balance.py": {"_sum_after"},
    # After migrations, of the database that they have changed.
    "payments/apps.py": {"open_shop_accounts"},
    "shop/accounts/permissions.py": {"create"},
}
"""Where `using` is called."""
MAY_LIST_FOR_STAFF = {
    "orders/api.py": {"get"},
    "payments/api.py": {"get"},
    "coupons/api.py": {"get", "_campaigns_of_staff"},
    "inventory/api.py": {"get", "_products_of_staff"},
    "sales/api.py": {"_sales_of_staff"},
    "shop/api_keys_api/api.py": {"get"},
}
MAY_NAME_THE_ALIAS = {"shop/db/secondary.py", "shop/settings.py"}
WRITING = ("select_for_update", "for_update", "lock", "run_or_savepoint", "run_batch", "save", "create")


@functools.cache
def modules() -> dict[str, ast.Module]:
    """The shop's modules without its tests and migrations, by their paths."""
    paths = {str(path.relative_to(places.PROJECT)): path for app in APPS for path in files_of(app)}
    return {
        name: ast.parse(path.read_text())
        for name, path in paths.items()
        if "/tests/" not in name and "/migrations/" not in name
    }


def files_of(app: str) -> list[Path]:
    return sorted((places.PROJECT / app).rglob("*.py"))


@functools.cache
def functions() -> list[tuple[str, str, set[str], set[str]]]:
    """Each function's module and name, the names that it has, and those of methods and attributes."""
    found = []
    for path, tree in modules().items():
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                inner = list(ast.walk(function))
                attributes = [node for node in inner if isinstance(node, ast.Attribute)]
                names = {node.id for node in inner if isinstance(node, ast.Name)}
                names |= {ast.unparse(node) for node in attributes if isinstance(node.value, ast.Name)}
                found.append((path, function.name, names, {node.attr for node in attributes}))
    return found


def uses(names: set[str], *, as_method: bool = False) -> dict[str, set[str]]:
    """The functions that call one of these or pass it on, by module; as a method of anything if so."""
    found: dict[str, set[str]] = {}
    for path, function, named, attributes in functions():
        if names & (attributes if as_method else named):
            found.setdefault(path, set()).add(function)
    return found


def test_only_lists_exports_and_reports_read_from_it() -> None:
    found = uses(READS)
    # `fetch` is also the name of other things.
    assert {
        path: names for path, names in found.items() if "backoffice" in path or path in MAY_READ
    } == MAY_READ
    assert uses({"secondary.read"}).keys() <= MAY_READ.keys()


def test_only_they_name_a_database() -> None:
    assert uses({"using"}, as_method=True) == MAY_NAME_A_DATABASE


def test_only_gets_of_lists_use_the_page_for_staff() -> None:
    assert uses({"paginate_for_staff"}) == MAY_LIST_FOR_STAFF


def test_none_of_them_locks_or_writes() -> None:
    writing = [
        (path, function)
        for path, function, _, attributes in functions()
        if function in MAY_READ.get(path, set()) | MAY_LIST_FOR_STAFF.get(path, set())
        and attributes & set(WRITING)
    ]
    assert writing == []


def test_no_other_module_knows_its_alias() -> None:
    named = {
        path
        for path, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and node.value == "reader"
    }
    assert named == MAY_NAME_THE_ALIAS
