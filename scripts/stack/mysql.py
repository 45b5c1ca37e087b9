"""A private MySQL, in its Debian root: own data, own socket, no TCP."""

import os
import shutil
import subprocess

from scripts.stack import SetupError, debian, mariadb
from scripts.stack.mariadb import DATABASE, USER


class Server(mariadb.Server):
    """One private server. Its Debian root has to be made."""

    collation = "utf8mb4_0900_ai_ci"

    def make_data(self) -> None:
        unfinished = self.data.with_name("data.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        words = ["mysqld", "--no-defaults", "--initialize-insecure", "--user=root", f"--datadir={unfinished}"]
        environment = os.environ | {"TMPDIR": str(self.temporary)}
        made = subprocess.run(debian.MYSQL.command(*words), env=environment, capture_output=True, text=True)
        if made.returncode != 0:
            raise SetupError(f"mysqld --initialize-insecure failed:\n{(made.stdout + made.stderr).strip()}")
        unfinished.rename(self.data)

    def command(self) -> list[str]:
        own = ["--mysqlx=OFF", "--secure-file-priv=NULL", "--innodb-redo-log-capacity=512M"]
        return debian.MYSQL.command("mysqld", *self.options(), *own)

    def first_statements(self) -> str:
        return (
            f"CREATE DATABASE IF NOT EXISTS {DATABASE} CHARACTER SET utf8mb4 COLLATE {self.collation};\n"
            f"CREATE USER IF NOT EXISTS '{USER}'@'localhost';\n"
            f"ALTER USER '{USER}'@'localhost' IDENTIFIED BY '{self.password}';\n"
            f"GRANT ALL PRIVILEGES ON *.* TO '{USER}'@'localhost' WITH GRANT OPTION;\n"
        )
