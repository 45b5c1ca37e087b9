(SELECT COUNT(*) FROM events_webhookdelivery WHERE status = 'pending') +
(SELECT COUNT(*) FROM events_feedevent WHERE position IS NULL AND run_offset = 0) +
COALESCE((SELECT last_position FROM events_feedstate) -
    COALESCE((SELECT position FROM events_webhookendpoint WHERE kind = 'data_platform'), 0), 0)
