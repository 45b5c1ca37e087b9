"""supervisor's configuration: what it starts, when, and that it can read what we write."""

import subprocess
import sys
from pathlib import Path

import pytest
from supervisor.options import ServerOptions

from scripts.stack import supervision
from scripts.stack.instance import Instance


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ServerOptions:
    """supervisor's own reading of a configuration in a folder whose name could confuse it."""
    home = tmp_path / "my var; #1"
    for folder in ("log", "run"):
        (home / folder).mkdir(parents=True)
    path = home / "supervisor.conf"
    socket = str(home / "supervisor.sock")
    path.write_text(supervision.configuration(socket=socket, stores=["redis"], is_root=False))
    monkeypatch.setenv("FIRSTCOME_PYTHON", ".venv/bin/python")
    read = ServerOptions()
    read.realize(["-c", str(path)])
    return read


def test_each_process_is_restarted_logged_and_killed_with_its_children(options: ServerOptions):
    for group in options.process_group_configs:
        for process in group.process_configs:
            assert process.command == f".venv/bin/python -m scripts.stack.processes {process.name}"
            assert process.autorestart is not False
            assert process.killasgroup
            assert Path(process.stdout_logfile).name == f"{process.name}.log"
            assert Path(process.stdout_logfile).parent.is_dir()
            assert 0 < process.stdout_logfile_maxbytes <= 10 << 20


@pytest.mark.boots("a process with an environment of its own")
def test_the_environment_of_the_instance_is_supervisors(tmp_path: Path):
    instance = Instance(home=tmp_path, port=8000, database="sqlite")
    instance.run.mkdir()
    own = {"FIRSTCOME_VAR": str(tmp_path), "WITH_SIGNS": "a=b\nc", "EMPTY": ""}
    program = "import signal; print(flush=True); signal.pause()"
    child = subprocess.Popen([sys.executable, "-c", program], env=own, stdout=subprocess.PIPE)
    try:
        assert child.stdout
        child.stdout.readline()  # Before the child runs the program, its environment reads as empty.
        (instance.run / "supervisor.pid").write_text(f"{child.pid}\n")
        assert supervision.environment(instance) == own
    finally:
        child.kill()
        child.wait()
