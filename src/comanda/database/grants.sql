-- Run after every migration, by the owner: what the API and the worker may do. Idempotent. Only if the group role
-- exists: whoever sets the database up creates `comanda_app` and makes the login users its members.
GRANT USAGE ON SCHEMA public TO comanda_app;
REVOKE ALL ON ALL TABLES IN SCHEMA public FROM comanda_app;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO comanda_app;
GRANT INSERT, UPDATE ON categories, products, payments, refunds, webhook_events, idempotency_keys, api_keys
    TO comanda_app;
-- What was ordered, at which price, and for how much in all does not change.
GRANT INSERT ON orders, order_items TO comanda_app;
GRANT UPDATE (status, version, status_changed_at, undo_until, client_hash, paid_at, pickup_number) ON orders
    TO comanda_app;
GRANT UPDATE (refunded_quantity) ON order_items TO comanda_app;
GRANT INSERT ON order_events, payment_events, pickup_days TO comanda_app;
GRANT DELETE ON webhook_events, idempotency_keys TO comanda_app;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO comanda_app;
