-- Menu -------------------------------------------------------------------------------------------------------

CREATE TABLE categories (
    id uuid PRIMARY KEY,
    name text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 60),
    position integer NOT NULL DEFAULT 0,
    archived_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);

CREATE UNIQUE INDEX categories_name_once ON categories (lower(name)) WHERE archived_at IS NULL;

CREATE TABLE products (
    id uuid PRIMARY KEY,
    category_id uuid NOT NULL REFERENCES categories,
    name text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 80),
    description text NOT NULL DEFAULT '' CHECK (char_length(description) <= 500),
    price_cents bigint NOT NULL CHECK (price_cents BETWEEN 1 AND 1000000),
    image_url text CHECK (char_length(image_url) <= 500),
    available boolean NOT NULL DEFAULT true,
    position integer NOT NULL DEFAULT 0,
    archived_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);

CREATE INDEX products_of_category ON products (category_id) WHERE archived_at IS NULL;

CREATE FUNCTION notify_menu() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('comanda_menu', '');
    RETURN NULL;
END $$;

CREATE TRIGGER categories_notify AFTER INSERT OR UPDATE OR DELETE ON categories
    FOR EACH STATEMENT EXECUTE FUNCTION notify_menu();
CREATE TRIGGER products_notify AFTER INSERT OR UPDATE OR DELETE ON products
    FOR EACH STATEMENT EXECUTE FUNCTION notify_menu();

-- Orders -----------------------------------------------------------------------------------------------------

CREATE TABLE orders (
    id uuid PRIMARY KEY,
    status text NOT NULL CHECK (status IN (
        'awaiting_payment', 'paid', 'preparing', 'ready', 'picked_up', 'cancelled', 'expired')),
    version integer NOT NULL DEFAULT 1 CHECK (version > 0),
    total_cents bigint NOT NULL CHECK (total_cents > 0),
    name text CHECK (char_length(name) BETWEEN 1 AND 40),
    notes text CHECK (char_length(notes) BETWEEN 1 AND 500),
    pickup_number integer CHECK (pickup_number BETWEEN 1 AND 9999),
    -- A keyed hash of the client's address, kept only while the order is unpaid, to bound how many there are.
    client_hash bytea,
    request_id text,
    created_at timestamptz NOT NULL,
    paid_at timestamptz,
    status_changed_at timestamptz NOT NULL,
    -- Until when the last step forward may be taken back.
    undo_until timestamptz,
    CONSTRAINT cooked_only_if_paid CHECK (
        status NOT IN ('paid', 'preparing', 'ready', 'picked_up')
        OR (paid_at IS NOT NULL AND pickup_number IS NOT NULL)),
    CONSTRAINT number_comes_with_payment CHECK ((paid_at IS NULL) = (pickup_number IS NULL)),
    CONSTRAINT client_forgotten_once_decided CHECK (status = 'awaiting_payment' OR client_hash IS NULL)
);

CREATE UNIQUE INDEX pickup_number_once ON orders (pickup_number) WHERE status IN ('paid', 'preparing', 'ready');
CREATE INDEX orders_open ON orders (paid_at) WHERE status IN ('paid', 'preparing', 'ready');
CREATE INDEX orders_unpaid ON orders (client_hash) WHERE status = 'awaiting_payment';
CREATE INDEX orders_newest ON orders (created_at DESC, id DESC);
CREATE INDEX orders_newest_by_status ON orders (status, created_at DESC, id DESC);

CREATE TABLE order_items (
    order_id uuid NOT NULL REFERENCES orders,
    id smallint NOT NULL CHECK (id > 0),
    product_id uuid NOT NULL REFERENCES products,
    name text NOT NULL,
    quantity integer NOT NULL CHECK (quantity > 0),
    unit_price_cents bigint NOT NULL CHECK (unit_price_cents > 0),
    notes text CHECK (char_length(notes) BETWEEN 1 AND 200),
    refunded_quantity integer NOT NULL DEFAULT 0,
    PRIMARY KEY (order_id, id),
    CONSTRAINT refunded_at_most_once CHECK (refunded_quantity BETWEEN 0 AND quantity)
);

CREATE TABLE order_events (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_id uuid NOT NULL REFERENCES orders,
    version integer NOT NULL,
    status_from text,
    status_to text NOT NULL,
    actor text NOT NULL,
    reason text,
    request_id text,
    at timestamptz NOT NULL,
    UNIQUE (order_id, version)
);

-- The legal moves, guarded where no code path can go round them. The same table, in code: orders/model.py.
CREATE FUNCTION guard_order_status() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (OLD.status, NEW.status) NOT IN (
        ('awaiting_payment', 'paid'), ('awaiting_payment', 'cancelled'), ('awaiting_payment', 'expired'),
        ('paid', 'preparing'), ('preparing', 'ready'), ('ready', 'picked_up'),
        ('preparing', 'paid'), ('ready', 'preparing'), ('picked_up', 'ready'),
        ('paid', 'cancelled'), ('preparing', 'cancelled'), ('ready', 'cancelled'))
    THEN
        RAISE EXCEPTION 'an order does not go from % to %', OLD.status, NEW.status
            USING ERRCODE = 'check_violation', CONSTRAINT = 'legal_order_moves';
    END IF;
    IF NEW.version <> OLD.version + 1 THEN
        RAISE EXCEPTION 'an order''s status changes with its version'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'version_with_status';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER orders_status_guard BEFORE UPDATE ON orders
    FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION guard_order_status();

-- Pickup numbers: a sequence takes no lock that outlives its call; the first payment of a day notes where it stood.
CREATE SEQUENCE pickup_numbers;

CREATE TABLE pickup_days (
    day date PRIMARY KEY,
    base bigint NOT NULL
);

-- Payments ---------------------------------------------------------------------------------------------------

CREATE TABLE payments (
    id uuid PRIMARY KEY,
    order_id uuid NOT NULL UNIQUE REFERENCES orders,
    status text NOT NULL CHECK (status IN (
        'requested', 'pending', 'in_process', 'approved', 'rejected', 'cancelled', 'expired',
        'refunded', 'partially_refunded', 'in_mediation', 'charged_back')),
    version integer NOT NULL DEFAULT 1 CHECK (version > 0),
    -- The intent: the whole request to the provider, stored before it is asked, the same at every try.
    amount_cents bigint NOT NULL CHECK (amount_cents > 0),
    idempotency_key text NOT NULL UNIQUE CHECK (char_length(idempotency_key) BETWEEN 1 AND 64),
    description text NOT NULL,
    payer_email text NOT NULL,
    notification_url text,
    live_mode boolean NOT NULL,
    expires_at timestamptz NOT NULL,
    provider_expires_at timestamptz NOT NULL,
    -- What the provider said.
    provider_payment_id bigint UNIQUE,
    provider_status text,
    provider_status_detail text,
    provider_updated_at timestamptz,
    copy_paste text,
    qr_code_png_base64 text,
    approved_at timestamptz,
    paid_cents bigint CHECK (paid_cents > 0),
    refunded_cents bigint NOT NULL DEFAULT 0 CHECK (refunded_cents >= 0),
    refund_reserved_cents bigint NOT NULL DEFAULT 0 CHECK (refund_reserved_cents >= 0),
    -- Why a person must look, if one must.
    review text,
    request_id text,
    -- The worker's queue: when to ask the provider next, how often it has been asked in this status, and how
    -- often in a row it has not answered.
    next_check_at timestamptz,
    checks integer NOT NULL DEFAULT 0,
    failures integer NOT NULL DEFAULT 0,
    watched_until timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT refunded_at_most_paid CHECK (refunded_cents + refund_reserved_cents <= COALESCE(paid_cents, 0)),
    CONSTRAINT approved_has_amount CHECK (
        status NOT IN ('approved', 'refunded', 'partially_refunded')
        OR (paid_cents IS NOT NULL AND provider_payment_id IS NOT NULL)),
    CONSTRAINT refunded_means_all CHECK (status <> 'refunded' OR refunded_cents = paid_cents),
    CONSTRAINT expiry_after_creation CHECK (expires_at > created_at AND provider_expires_at >= expires_at)
);

CREATE INDEX payments_due ON payments (next_check_at) WHERE next_check_at IS NOT NULL;
CREATE INDEX payments_to_review ON payments (updated_at) WHERE review IS NOT NULL;

CREATE TABLE payment_events (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    payment_id uuid NOT NULL REFERENCES payments,
    version integer NOT NULL,
    status_from text,
    status_to text NOT NULL,
    provider_status text,
    refunded_cents bigint NOT NULL DEFAULT 0,
    actor text NOT NULL,
    reason text,
    request_id text,
    at timestamptz NOT NULL,
    UNIQUE (payment_id, version)
);

-- The provider's id is set once, and the intent never changes.
CREATE FUNCTION guard_payment() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.provider_payment_id IS NOT NULL AND NEW.provider_payment_id IS DISTINCT FROM OLD.provider_payment_id THEN
        RAISE EXCEPTION 'a payment keeps the provider''s id'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'provider_id_set_once';
    END IF;
    IF (NEW.order_id, NEW.amount_cents, NEW.idempotency_key) IS DISTINCT FROM
       (OLD.order_id, OLD.amount_cents, OLD.idempotency_key) THEN
        RAISE EXCEPTION 'what was asked of the provider does not change'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'intent_never_changes';
    END IF;
    IF OLD.paid_cents IS NOT NULL AND NEW.paid_cents IS DISTINCT FROM OLD.paid_cents THEN
        RAISE EXCEPTION 'what was paid does not change'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'paid_once';
    END IF;
    IF NEW.status IS DISTINCT FROM OLD.status AND NEW.version <> OLD.version + 1 THEN
        RAISE EXCEPTION 'a payment''s status changes with its version'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'version_with_status';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER payments_guard BEFORE UPDATE ON payments FOR EACH ROW EXECUTE FUNCTION guard_payment();

CREATE TABLE refunds (
    id uuid PRIMARY KEY,
    payment_id uuid NOT NULL REFERENCES payments,
    status text NOT NULL CHECK (status IN ('requested', 'in_process', 'approved', 'rejected')),
    amount_cents bigint NOT NULL CHECK (amount_cents > 0),
    -- [{"item_id": 1, "quantity": 2}]: which lines it gives back, so that a refused one can be taken back.
    items jsonb NOT NULL,
    reason text CHECK (char_length(reason) <= 200),
    actor text NOT NULL,
    idempotency_key text NOT NULL UNIQUE CHECK (char_length(idempotency_key) BETWEEN 1 AND 64),
    -- Without an amount the provider gives back the whole payment.
    whole boolean NOT NULL,
    provider_refund_id bigint UNIQUE,
    last_error text,
    request_id text,
    next_attempt_at timestamptz,
    attempts integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL,
    decided_at timestamptz,
    CONSTRAINT decided_when_final CHECK ((status IN ('approved', 'rejected')) = (decided_at IS NOT NULL))
);

CREATE INDEX refunds_of_payment ON refunds (payment_id);
CREATE INDEX refunds_due ON refunds (next_attempt_at) WHERE status IN ('requested', 'in_process');

CREATE FUNCTION guard_refund() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.status IN ('approved', 'rejected') THEN
        RAISE EXCEPTION 'a decided refund does not change'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'refund_decided_once';
    END IF;
    IF (NEW.payment_id, NEW.amount_cents, NEW.idempotency_key, NEW.whole) IS DISTINCT FROM
       (OLD.payment_id, OLD.amount_cents, OLD.idempotency_key, OLD.whole) THEN
        RAISE EXCEPTION 'what was asked of the provider does not change'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'intent_never_changes';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER refunds_guard BEFORE UPDATE ON refunds FOR EACH ROW EXECUTE FUNCTION guard_refund();

-- Everybody who watches an order is told at commit. The document's version is the sum of both versions.
CREATE FUNCTION notify_order() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_TABLE_NAME = 'orders' THEN
        PERFORM pg_notify('comanda_orders', NEW.id::text);
    ELSE
        PERFORM pg_notify('comanda_payments', NEW.order_id::text);
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER orders_notify AFTER UPDATE ON orders
    FOR EACH ROW WHEN (OLD.version IS DISTINCT FROM NEW.version) EXECUTE FUNCTION notify_order();
CREATE TRIGGER payments_notify AFTER UPDATE ON payments
    FOR EACH ROW WHEN (OLD.version IS DISTINCT FROM NEW.version) EXECUTE FUNCTION notify_order();

-- Webhooks, idempotency, keys --------------------------------------------------------------------------------

CREATE TABLE webhook_events (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- All that a notification means is: look at this payment again.
    provider_payment_id bigint NOT NULL,
    status text NOT NULL CHECK (status IN ('waiting', 'claimed', 'handled')),
    outcome text,
    body jsonb NOT NULL,
    request_id text,
    deliveries integer NOT NULL DEFAULT 1,
    attempts integer NOT NULL DEFAULT 0,
    received_at timestamptz NOT NULL,
    next_attempt_at timestamptz,
    handled_at timestamptz,
    CONSTRAINT handled_has_outcome CHECK ((status = 'handled') = (handled_at IS NOT NULL AND outcome IS NOT NULL))
);

-- One waiting look per payment is enough; one that is being taken may have read the provider already, so it
-- does not count.
CREATE UNIQUE INDEX webhook_waiting_once ON webhook_events (provider_payment_id) WHERE status = 'waiting';
CREATE INDEX webhook_events_due ON webhook_events (next_attempt_at) WHERE status <> 'handled';
CREATE INDEX webhook_events_handled ON webhook_events (handled_at) WHERE status = 'handled';

CREATE TABLE idempotency_keys (
    scope text NOT NULL,
    key_hash bytea NOT NULL,
    request_hash bytea NOT NULL,
    -- What the first request made: an order or a refund; its reply is that resource as it now is.
    resource_id uuid NOT NULL,
    busy_until timestamptz,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (scope, key_hash)
);

CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);

CREATE TABLE api_keys (
    id uuid PRIMARY KEY,
    name text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 60),
    role text NOT NULL CHECK (role IN ('staff', 'manager')),
    key_hash bytea NOT NULL UNIQUE CHECK (octet_length(key_hash) = 32),
    created_at timestamptz NOT NULL,
    revoked_at timestamptz
);

CREATE UNIQUE INDEX api_keys_name_once ON api_keys (name) WHERE revoked_at IS NULL;

-- History is only ever added to.
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'history is append-only' USING ERRCODE = 'check_violation', CONSTRAINT = 'append_only';
END $$;

CREATE TRIGGER order_events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON order_events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER payment_events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON payment_events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
