"""Which metrics an expression asks for."""

import pytest

from scripts.monitoring import promql

EXPRESSIONS = {
    "up == 0": {"up"},
    'sum by (le, view) (rate(a_bucket{view=~"x|y"}[5m])) / on (view) group_left (more) b_total': {
        "a_bucket",
        "b_total",
    },
    'label_replace(absent(c), "metric", "d", "", "") or vector(1) > 1.5e3 and bool': {"c"},
    "slo:errors:rate5m offset 5m / (slo:requests:rate5m > 0)": {"slo:errors:rate5m", "slo:requests:rate5m"},
    "max without (instance, job) (deriv(e_seconds[2m:10s])) unless ignoring (job) f": {"e_seconds", "f"},
    'count({__name__=~"firstcome_.*"})': set(),
}


@pytest.mark.parametrize(("expression", "names"), EXPRESSIONS.items(), ids=list(EXPRESSIONS))
def test_the_names_of_an_expression(expression: str, names: set[str]):
    assert promql.metric_names(expression) == names
