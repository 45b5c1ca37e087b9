-- Executed once, when the data are made with which all members begin: the accounts, the shop's empty database, and the
-- row that names the member that writes. Galera is off meanwhile, so that it is no transaction of any member.
-- A statement ends with a semicolon at the end of a line.
FLUSH PRIVILEGES;
CREATE USER 'cluster'@'${host}' IDENTIFIED BY '${mysql_administrator_password}';
GRANT ALL PRIVILEGES ON *.* TO 'cluster'@'${host}' WITH GRANT OPTION;
-- With it a member copies itself to another one, by its socket.
CREATE USER 'replication'@'localhost' IDENTIFIED BY '${mysql_replication_password}';
GRANT RELOAD, PROCESS, LOCK TABLES, BINLOG MONITOR, REPLICA MONITOR ON *.* TO 'replication'@'localhost';
-- Without a right that works on a server which is read-only: the shop must be refused there.
CREATE DATABASE firstcome CHARACTER SET utf8mb4;
CREATE USER 'firstcome'@'${host}' IDENTIFIED BY '${mysql_shop_password}';
GRANT ALL PRIVILEGES ON firstcome.* TO 'firstcome'@'${host}';
CREATE USER 'exporter'@'${host}' IDENTIFIED BY '${mysql_exporter_password}' WITH MAX_USER_CONNECTIONS 5;
GRANT PROCESS, BINLOG MONITOR, REPLICA MONITOR, SELECT ON *.* TO 'exporter'@'${host}';
-- The member that shall write. Galera replicates the row, so two members that are up to date never read two names.
CREATE DATABASE cluster;
CREATE TABLE cluster.writer (id TINYINT PRIMARY KEY CHECK (id = 1), member TINYINT NOT NULL,
  node VARCHAR(36) NOT NULL, former VARCHAR(1000) NOT NULL, appointed_at DATETIME(6) NOT NULL) ENGINE = InnoDB;
INSERT INTO cluster.writer VALUES (1, 0, '', '', NOW(6));
-- HAProxy's checks ask for it. They can't sign in with a password; this account can read one row.
CREATE USER 'haproxy'@'${host}';
GRANT SELECT ON cluster.writer TO 'haproxy'@'${host}';
