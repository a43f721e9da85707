-- Auth configs: OAuth client credentials. The callback finds one by its id alone.
CREATE TABLE auth_configs (
    id TEXT NOT NULL,
    partner_id TEXT NOT NULL REFERENCES partners (id),
    provider TEXT NOT NULL,
    name TEXT NOT NULL,
    client_id TEXT NOT NULL,
    client_secret BYTEA,
    scopes TEXT NOT NULL,
    params TEXT NOT NULL,
    status TEXT NOT NULL,
    status_reason TEXT,
    version BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (partner_id, id)
);

CREATE INDEX auth_configs_id ON auth_configs (id);
