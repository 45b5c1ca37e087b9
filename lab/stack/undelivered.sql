(SELECT COUNT(*) FROM events_webhookdelivery WHERE status = 'pending') +
(SELECT COUNT(*) FROM events_feedevent WHERE position IS NULL OR position > COALESCE(
    (SELECT position FROM events_webhookendpoint WHERE kind = 'data_platform'), 0))
