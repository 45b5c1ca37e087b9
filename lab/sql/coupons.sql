-- The positions from {first} to {last} of the campaign, for the accounts of these numbers: numbered without
-- gaps, counted, and noted in the journal.
BEGIN;
UPDATE coupons_campaign SET issued = {last} WHERE id = @campaign AND issued = {first} - 1;
INSERT INTO coupons_coupon (campaign_id, account_id, code, position, status, issued_at, expires_at)
SELECT @campaign, account_id, {code}, number, 'issued', UTC_TIMESTAMP(6), UTC_TIMESTAMP(6) + INTERVAL 30 DAY
FROM filling_account WHERE number BETWEEN {first} AND {last};
INSERT INTO shop_journalline (at, actor, actor_id, request_id, what, subject, after)
SELECT issued_at, 'account', account_id, UUID(), 'coupon.issued', CONCAT('coupon ', code),
    JSON_OBJECT('coupon', code, 'campaign', campaign_id, 'account', account_id, 'position', position,
                'status', status)
FROM coupons_coupon WHERE campaign_id = @campaign AND position BETWEEN {first} AND {last};
COMMIT;
