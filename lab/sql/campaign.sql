-- A campaign with {quantity} coupons to give.
INSERT INTO coupons_campaign
    (name, strategy, quantity, issued, opens_at, code_source, eligible, discount_type,
    discount_value, coupon_valid_for_days, created_at)
VALUES ('Filled', 'group_commit', {quantity}, 0, UTC_TIMESTAMP(6), 'generated', 'all', 'amount',
    {discount}, 30, UTC_TIMESTAMP(6));
SET @campaign = LAST_INSERT_ID();
