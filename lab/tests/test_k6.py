"""The scripts of k6 for those who load a shop of their own, by k6/README.md alone; no host by mistake."""

import os
import re
import subprocess

import pytest

from foundation.tests.case_tables import in_one_test
from lab import load, stage
from scripts.stack import instance as instances, own_stack, places, ports

FOLDER = places.PROJECT / "k6"
README = (FOLDER / "README.md").read_text()
SCRIPTS = sorted(FOLDER.glob("[a-z]*.js"))


def k6(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    words = [*load.K6, str(FOLDER / script)]
    return subprocess.run(
        words, env=os.environ | environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_the_page_names_each_script_and_each_variable_that_one_reads():
    read = set()
    for script in SCRIPTS:
        read |= {*re.findall(r"__ENV\.(\w+)", script.read_text())}
        if script.name != "measure.js":
            assert f"`{script.name}`" in README
    # What the lab alone gives is said in the script that reads it.
    of_the_lab = {"RUN", "SESSIONS", "HOLD", "OF_PRODUCTS", "ORDER_LINES", "CODE", "CODES", "FLAKY_EVERY"}
    assert of_the_lab < read
    assert {name for name in read - of_the_lab if not re.search(rf"`[^`]*\b{name}\b", README)} == set()


@pytest.mark.boots("k6")
@in_one_test(
    "shop",
    [
        "http://example.com",
        "http://127.0.0.1@example.com",
        "http://127.0.0.1.example.com",
        "http://example.com/http://127.0.0.1",
        "127.0.0.1:8000",
    ],
)
def test_no_load_goes_to_a_host_that_is_not_named(shop):
    refused = k6("list.js", SHOP=shop, LIST="/", TOKENS="/dev/null", ALLOW_HOST="example.org")
    assert refused.returncode and "ALLOW_HOST" in refused.stderr


@pytest.mark.boots("k6")
def test_a_host_that_is_named_is_loaded(tmp_path):
    """Its port is closed: the only request fails, and crosses the threshold."""
    (tmp_path / "tokens.json").write_text('{"users": [{"access": "none"}]}')
    closed = f"http://127.0.0.2:{ports.free(instances.PORTS)}"
    asked = {"SHOP": closed, "LIST": "/", "TOKENS": str(tmp_path / "tokens.json"), "VUS": "1"}
    assert "ALLOW_HOST" in k6("list.js", **asked).stderr
    assert k6("list.js", **asked, ALLOW_HOST="127.0.0.2", MOST_FAILED="0.01").returncode == 99


@pytest.mark.boots("a whole shop, and k6")
def test_a_load_by_the_page_alone_has_the_usual_summary(tmp_path):
    port = str(ports.free(instances.PORTS))
    instance = instances.choose(home=tmp_path / "home", port=port, database="sqlite")
    run = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)[1]
    with own_stack.running(instance, **own_stack.NO_RATES):
        stage.seed(instance, 30)
        for written, here in (
            ("http://127.0.0.1:8000", instance.url),
            ("$PWD/var", str(instance.home)),
            (".venv/bin/k6", load.K6[0]),
        ):
            assert written in run
            run = run.replace(written, here)
        printed = subprocess.run(
            ["sh", "-ec", run], cwd=places.PROJECT, capture_output=True, text=True, timeout=120, check=False
        )
    for figure in ("iteration_duration", "http_req_duration", "data_received", "p(90)", "p(99)"):
        assert figure in printed.stdout, printed.stderr
    assert re.search(r"http_reqs\.+: 30 ", printed.stdout)
