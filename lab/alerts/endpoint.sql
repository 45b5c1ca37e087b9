-- A webhook endpoint of this id. Its address is the host's own, which is refused.
INSERT INTO events_webhookendpoint (id, kind, url, events, description, secret, owner_id,
    position, created_at, failures, disabled_by, lease_token)
SELECT %s, 'program', 'http://127.0.0.1:9/', '["*"]', 'alerts', 'whsec_YWxlcnRzYWxlcnRzYWxlcnRz',
    (SELECT MIN(id) FROM auth_user WHERE is_superuser), last_position, UTC_TIMESTAMP(6), 0, '', ''
FROM events_feedstate
