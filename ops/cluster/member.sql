-- Executed by each member when its data folder is made, before it writes a binary log: the accounts, the
-- shop's empty database, and the metadata from which MySQL Router learns the members. All members execute the
-- same, so that it is no transaction of any of them. A statement ends with a semicolon at the end of a line.
ALTER USER 'root'@'localhost' IDENTIFIED BY '${mysql_administrator_password}';
CREATE USER 'cluster'@'${host}' IDENTIFIED BY '${mysql_administrator_password}';
GRANT ALL PRIVILEGES ON *.* TO 'cluster'@'${host}' WITH GRANT OPTION;
-- A member that joins signs in to its donor with it, and clones it.
CREATE USER 'replication'@'${host}' IDENTIFIED BY '${mysql_replication_password}';
GRANT REPLICATION SLAVE, CONNECTION_ADMIN, BACKUP_ADMIN, GROUP_REPLICATION_STREAM ON *.* TO 'replication'@'${host}';
-- Without a right that works on a server which is read-only or offline: the shop must be refused there.
CREATE DATABASE firstcome CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_ai_ci;
CREATE USER 'firstcome'@'${host}' IDENTIFIED BY '${mysql_shop_password}';
GRANT ALL PRIVILEGES ON firstcome.* TO 'firstcome'@'${host}';
GRANT SELECT ON performance_schema.* TO 'firstcome'@'${host}';
CREATE USER 'exporter'@'${host}' IDENTIFIED BY '${mysql_exporter_password}' WITH MAX_USER_CONNECTIONS 5;
GRANT PROCESS, REPLICATION CLIENT, CONNECTION_ADMIN ON *.* TO 'exporter'@'${host}';
GRANT SELECT ON performance_schema.* TO 'exporter'@'${host}';

-- The tables and views that Router reads, as MySQL Shell would make them for an InnoDB Cluster (version 2.2.0
-- of the metadata). Debian has no MySQL Shell. One cluster, one group, no replica clusters.
CREATE DATABASE mysql_innodb_cluster_metadata CHARACTER SET utf8mb4;
CREATE TABLE mysql_innodb_cluster_metadata.members (id INT UNSIGNED PRIMARY KEY,
  uuid CHAR(36) CHARACTER SET ascii COLLATE ascii_general_ci NOT NULL UNIQUE, endpoint VARCHAR(265) NOT NULL);
INSERT INTO mysql_innodb_cluster_metadata.members VALUES
  (1, '${mysql_1_uuid}', '${host}:${mysql_1_port}'),
  (2, '${mysql_2_uuid}', '${host}:${mysql_2_port}'),
  (3, '${mysql_3_uuid}', '${host}:${mysql_3_port}');
CREATE TABLE mysql_innodb_cluster_metadata.routers (router_id INT UNSIGNED AUTO_INCREMENT PRIMARY KEY,
  router_name VARCHAR(265) NOT NULL, product_name VARCHAR(128) NOT NULL,
  address VARCHAR(256) CHARACTER SET ascii COLLATE ascii_general_ci NOT NULL, version VARCHAR(12),
  last_check_in TIMESTAMP NULL, attributes JSON,
  cluster_id CHAR(36) CHARACTER SET ascii COLLATE ascii_general_ci, options JSON, clusterset_id VARCHAR(36),
  UNIQUE KEY (address, router_name));
INSERT INTO mysql_innodb_cluster_metadata.routers
  (router_id, router_name, product_name, address, attributes, cluster_id) VALUES
  (1, 'router-1', 'MySQL Router', '${host}', '{}', '${group_name}'),
  (2, 'router-2', 'MySQL Router', '${host}', '{}', '${group_name}');
CREATE SQL SECURITY INVOKER VIEW mysql_innodb_cluster_metadata.schema_version (major, minor, patch) AS
  SELECT 2, 2, 0;
CREATE SQL SECURITY INVOKER VIEW mysql_innodb_cluster_metadata.v2_gr_clusters AS
  SELECT 'gr' AS cluster_type, 'pm' AS primary_mode, '${group_name}' AS cluster_id, 'firstcome' AS cluster_name,
    '${group_name}' AS group_name, CAST('{}' AS JSON) AS attributes, CAST(NULL AS JSON) AS options,
    CAST('{}' AS JSON) AS router_options, '' AS description, CAST(NULL AS CHAR(36)) AS clusterset_id;
CREATE SQL SECURITY INVOKER VIEW mysql_innodb_cluster_metadata.v2_clusters AS
  SELECT cluster_type, primary_mode, cluster_id, cluster_name, router_options
  FROM mysql_innodb_cluster_metadata.v2_gr_clusters;
CREATE SQL SECURITY INVOKER VIEW mysql_innodb_cluster_metadata.v2_instances AS
  SELECT id AS instance_id, '${group_name}' AS cluster_id, endpoint AS label, uuid AS mysql_server_uuid,
    endpoint AS address, endpoint, CAST(NULL AS CHAR) AS xendpoint,
    CAST('{"instance_type": "group-member"}' AS JSON) AS attributes, 'group-member' AS instance_type
  FROM mysql_innodb_cluster_metadata.members;
CREATE SQL SECURITY INVOKER VIEW mysql_innodb_cluster_metadata.v2_this_instance AS
  SELECT '${group_name}' AS cluster_id, id AS instance_id, 'group-member' AS instance_type,
    'firstcome' AS cluster_name, 'gr' AS cluster_type
  FROM mysql_innodb_cluster_metadata.members WHERE uuid =
    (SELECT variable_value FROM performance_schema.global_variables WHERE variable_name = 'server_uuid');
-- Empty: there are no sets of clusters, and no cluster with asynchronous replicas.
CREATE SQL SECURITY INVOKER VIEW mysql_innodb_cluster_metadata.v2_cs_members AS
  SELECT 0 AS view_id, '' AS clusterset_id, '' AS cluster_id, '' AS cluster_name, '' AS member_role,
    '' AS master_cluster_id, 0 AS invalidated FROM mysql_innodb_cluster_metadata.members WHERE FALSE;
CREATE SQL SECURITY INVOKER VIEW mysql_innodb_cluster_metadata.v2_cs_clustersets AS
  SELECT 0 AS view_id, '' AS async_topology_type, '' AS clusterset_id, '' AS domain_name, NULL AS attributes,
    NULL AS options, NULL AS router_options FROM mysql_innodb_cluster_metadata.members WHERE FALSE;
CREATE SQL SECURITY INVOKER VIEW mysql_innodb_cluster_metadata.v2_ar_clusters AS
  SELECT * FROM mysql_innodb_cluster_metadata.v2_gr_clusters WHERE FALSE;
CREATE SQL SECURITY INVOKER VIEW mysql_innodb_cluster_metadata.v2_routers AS
  SELECT router_id, cluster_id, router_name, product_name, address, version, last_check_in, attributes, options,
    clusterset_id FROM mysql_innodb_cluster_metadata.routers;
CREATE SQL SECURITY INVOKER VIEW mysql_innodb_cluster_metadata.v2_router_options AS
  SELECT router_id, router_name, cluster_id, clusterset_id,
    IFNULL(options, CAST('{}' AS JSON)) AS router_options FROM mysql_innodb_cluster_metadata.routers;
CREATE USER 'router'@'${host}' IDENTIFIED BY '${mysql_router_password}';
GRANT SELECT, EXECUTE ON mysql_innodb_cluster_metadata.* TO 'router'@'${host}';
GRANT INSERT, UPDATE, DELETE ON mysql_innodb_cluster_metadata.routers TO 'router'@'${host}';
GRANT INSERT, UPDATE, DELETE ON mysql_innodb_cluster_metadata.v2_routers TO 'router'@'${host}';
GRANT SELECT ON performance_schema.* TO 'router'@'${host}';
