"""A private MySQL, in its Debian root: own data, own socket, no TCP."""

from pathlib import Path

from scripts.stack import debian, mariadb


class Server(mariadb.Server):
    """One private server. Its Debian root has to be made."""

    collation = "utf8mb4_0900_ai_ci"

    def install_command(self, data: Path) -> list[str]:
        words = ("--no-defaults", "--initialize-insecure", "--user=root", f"--datadir={data}")
        return debian.MYSQL.command("mysqld", *words)

    def command(self) -> list[str]:
        own = ["--mysqlx=OFF", "--secure-file-priv=NULL", "--innodb-redo-log-capacity=512M"]
        return debian.MYSQL.command("mysqld", *self.options(), *own)
