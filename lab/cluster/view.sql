-- A member's state and role, what it has to apply, its transactions, and whether it is in a majority, as in
-- keepers.View. What waits in the relay log was committed by the group, and acknowledged.
SELECT IFNULL(own.MEMBER_STATE, 'OFFLINE'), IFNULL(own.MEMBER_ROLE, ''),
  IFNULL(stats.COUNT_TRANSACTIONS_REMOTE_IN_APPLIER_QUEUE, 0), CONCAT_WS(',', @@GLOBAL.gtid_executed, (
    SELECT RECEIVED_TRANSACTION_SET FROM performance_schema.replication_connection_status
    WHERE CHANNEL_NAME = 'group_replication_applier')),
  own.MEMBER_STATE = 'ONLINE' AND (SELECT SUM(MEMBER_STATE IN ('ONLINE', 'RECOVERING')) * 2 > COUNT(*)
    FROM performance_schema.replication_group_members)
FROM (SELECT 1) one
LEFT JOIN performance_schema.replication_group_members own ON own.MEMBER_ID = @@server_uuid
LEFT JOIN performance_schema.replication_group_member_stats stats ON stats.MEMBER_ID = own.MEMBER_ID
