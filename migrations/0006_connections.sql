-- Connections: an account's grant at a provider. One living per auth config and identity.
CREATE TABLE connections (
    id TEXT NOT NULL,
    partner_id TEXT NOT NULL,
    account_id TEXT NOT NULL,
    auth_config_id TEXT NOT NULL,
    provider TEXT NOT NULL,
    identity TEXT NOT NULL,
    label TEXT,
    status TEXT NOT NULL,
    reason TEXT,
    enabled_services TEXT NOT NULL,
    scopes TEXT NOT NULL,
    params TEXT NOT NULL,
    connected_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    revoked_at BIGINT,
    PRIMARY KEY (partner_id, id),
    FOREIGN KEY (partner_id, account_id) REFERENCES accounts (partner_id, id)
);

CREATE UNIQUE INDEX connections_identity
    ON connections (partner_id, account_id, auth_config_id, identity) WHERE revoked_at IS NULL;
CREATE INDEX connections_auth_config ON connections (auth_config_id) WHERE revoked_at IS NULL;
