-- Idempotency keys, kept for a day.
CREATE TABLE idempotency_keys (
    partner_id TEXT NOT NULL REFERENCES partners (id),
    route TEXT NOT NULL,
    key TEXT NOT NULL,
    request_hash BYTEA NOT NULL,
    state TEXT NOT NULL,
    status BIGINT,
    answer BYTEA,
    created_at BIGINT NOT NULL,
    locked_until BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (partner_id, route, key)
);

CREATE INDEX idempotency_keys_expiry ON idempotency_keys (expires_at);
