-- API keys: found by their public prefix, compared by a peppered hash.
CREATE TABLE api_keys (
    id TEXT NOT NULL,
    partner_id TEXT NOT NULL REFERENCES partners (id),
    lookup TEXT NOT NULL,
    hash BYTEA NOT NULL,
    mode TEXT NOT NULL,
    name TEXT,
    created_at BIGINT NOT NULL,
    revoked_at BIGINT,
    last_used_at BIGINT,
    PRIMARY KEY (partner_id, id)
);

CREATE INDEX api_keys_lookup ON api_keys (lookup) WHERE revoked_at IS NULL;
