"""`python3 -m lab alerts`: every alert has a cause, what it finds is reported, and three fire on a stack."""

import pytest

from foundation.tests.case_tables import in_one_test
from lab.alerts import __main__ as alerts, stage
from lab.alerts.catalog import CAUSES, Cause
from scripts import alert_rules
from scripts.stack import instance as instances, ports


def test_every_alert_has_a_cause_and_no_cause_names_another():
    fired = {name for cause in CAUSES for name in cause.fires}
    assert fired == alert_rules.alerts().keys()
    assert {name for cause in CAUSES for name in cause.explains} <= fired
    phases = [cause.phase for cause in CAUSES]
    assert phases == sorted(phases), "the causes of a phase are made together"


@in_one_test(
    ("sent", "finding"),
    [
        ("", "EventsDead did not fire within"),
        ("EventsDead firing tickets", "EventsDead was not cleared within"),
        ("EventsDead firing pager, EventsDead resolved pager", "EventsDead is a ticket and went to"),
        ("OutboxLag firing tickets, OutboxLag resolved tickets", "OutboxLag fired without a cause"),
    ],
)
def test_what_is_wrong_is_found(sent, finding):
    cause = Cause("a test", lambda _: [], ["EventsDead"], ["LawBroken"])
    taken = {}
    for words in f"LawBroken firing pager, LawBroken resolved pager, {sent}".strip(", ").split(", "):
        name, status, receiver = words.split()
        stage.take(taken, receiver, {"groupLabels": {"alertname": name}, "status": status})
    findings = list(alerts.find_faults(taken, [cause]))
    assert any(one.startswith(finding) for one in findings), findings
    assert not any("LawBroken" in one for one in findings)


@pytest.mark.boots("a whole shop with Prometheus")
def test_three_alerts_fire_and_clear_on_a_stack(tmp_path, capsys):
    """The quick choice of `python3 -m lab alerts`: a row, a server's limit and a process."""
    names = ["StockNegative", "ConnectionsSaturated", "ExporterDown"]
    port = str(ports.free(instances.PORTS))
    code = alerts.fire_alerts(instances.choose(home=tmp_path, port=port, database="mariadb"), names)
    output = capsys.readouterr().out
    assert code == 0, output
    for name in names:
        assert f"| `{name}` |" in output
    assert "0 findings" in output
