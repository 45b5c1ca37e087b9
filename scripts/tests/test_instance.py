"""Instances: chosen by words, remembered, and held by one runner at a time."""

import os
from pathlib import Path

import pytest

from scripts.stack import SetupError, places
from scripts.stack import instance as instances


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path


def test_make_run_without_words_is_port_8000_on_sqlite_whatever_ran_last(home: Path):
    instances.remember(instances.choose(home=home, port="9000", database="mariadb"))
    chosen = instances.choose(home=home, port="", database="")
    assert (chosen.port, chosen.database) == (8000, "sqlite")


def test_make_manage_without_words_means_what_ran_last(home: Path):
    instances.remember(instances.choose(home=home, port="9000", database="mariadb"))
    chosen = instances.choose_like_last(home=home, port="", database="")
    assert (chosen.port, chosen.database) == (9000, "mariadb")
    chosen = instances.choose_like_last(home=home, port="9100", database="sqlite")
    assert (chosen.port, chosen.database) == (9100, "sqlite")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"port": "x", "database": "sqlite"}'])
def test_a_memory_that_can_not_be_read_is_none(home: Path, text: str):
    (home / "instance.json").write_text(text)
    assert instances.choose_like_last(home=home, port="", database="").port == instances.DEFAULT_PORT


def test_an_unknown_database_is_reported(home: Path):
    with pytest.raises(SetupError, match="DB=postgres is not a database"):
        instances.choose(home=home, port="", database="postgres")


def test_databases_share_no_state(home: Path):
    sqlite, mariadb = (instances.choose(home=home, port="", database=name) for name in instances.DATABASES)
    assert sqlite.data != mariadb.data


def test_sockets_fit_into_their_address_however_deep_the_folder(tmp_path: Path):
    deep = tmp_path / ("deep" * 30)
    deep.mkdir()
    path = places.socket_path(deep, "mariadb.sock")
    assert len(os.fsencode(path)) <= places.LONGEST_SOCKET_PATH
    assert path.parent.stat().st_mode & 0o077 == 0
    assert places.socket_path(deep, "mariadb.sock") == path
    path.parent.rmdir()


def test_a_short_folder_that_others_may_enter_is_not_used(tmp_path: Path):
    deep = tmp_path / ("deep" * 30)
    short = places.socket_path(deep, "redis.sock").parent
    short.chmod(0o755)
    with pytest.raises(SetupError, match="not a private folder"):
        places.socket_path(deep, "redis.sock")
    short.rmdir()


def test_each_kind_of_process_has_its_own_address_for_metrics(home: Path):
    chosen = instances.choose(home=home, port="9000", database="")
    assert chosen.metrics_targets() == {
        "web": ["127.0.0.1:9000"],
        "worker": ["127.0.0.1:9004"],
        "issuer": ["127.0.0.1:9005"],
        "beat": ["127.0.0.1:9006"],
    }
    assert list(chosen.ports) == list(range(9000, 9007))
