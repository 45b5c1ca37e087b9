-- The first {count} accounts of the filling join sale {sale}, which has not opened.
INSERT INTO sales_saleentry (id, sale_id, account_id, status, is_current, created_at)
SELECT UUID(), {sale}, account_id, 'waiting', 1, UTC_TIMESTAMP(6) FROM filling_account;
UPDATE sales_sale SET drawn_count = {count} WHERE id = {sale}
