-- Data keys, wrapped: one current per partner and purpose.
CREATE TABLE data_keys (
    id TEXT NOT NULL,
    partner_id TEXT NOT NULL REFERENCES partners (id),
    purpose TEXT NOT NULL,
    kek_id TEXT NOT NULL,
    wrapped BYTEA NOT NULL,
    current BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (partner_id, id)
);

CREATE UNIQUE INDEX data_keys_current ON data_keys (partner_id, purpose) WHERE current = 1;
