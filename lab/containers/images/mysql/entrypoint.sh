#!/bin/bash
# As the official image: initialises an empty volume over the socket alone, then serves.
set -euo pipefail
data=/var/lib/mysql init=/run/mysqld/init.sock
if [ "${1:-}" = "" ] || [ "${1:0:1}" = - ]; then set -- mysqld "$@"; fi
if [ "$(id -u)" = 0 ]; then
    mkdir -p $data /run/mysqld
    chown -R mysql:mysql $data /run/mysqld
    exec setpriv --reuid mysql --regid mysql --init-groups "$0" "$@"
fi
if [ ! -d $data/mysql ]; then
    "$@" --initialize-insecure
    "$@" --skip-networking --socket=$init --mysqlx=OFF &
    child=$!
    for _ in $(seq 240); do mysqladmin -uroot -S $init ping > /dev/null 2>&1 && break; sleep 0.5; done
    mysql -uroot -S $init <<SQL
ALTER USER root@localhost IDENTIFIED BY '${MYSQL_ROOT_PASSWORD:?}';
CREATE DATABASE IF NOT EXISTS \`$MYSQL_DATABASE\`;
CREATE USER '$MYSQL_USER'@'%' IDENTIFIED BY '$MYSQL_PASSWORD';
GRANT ALL ON \`${MYSQL_DATABASE//_/\\_}\`.* TO '$MYSQL_USER'@'%';
SQL
    kill "$child"
    wait "$child"
fi
exec "$@"
