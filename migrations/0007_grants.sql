-- Grants: the narrow rows of the refresh protocol. Claims update them far faster because the sealed
-- tokens are elsewhere.
CREATE TABLE grants (
    id TEXT NOT NULL,
    partner_id TEXT NOT NULL,
    connection_id TEXT NOT NULL,
    account_id TEXT NOT NULL,
    auth_config_id TEXT NOT NULL,
    provider TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT,
    version BIGINT NOT NULL,
    rev BIGINT NOT NULL,
    attempt TEXT,
    holder TEXT,
    lease_until BIGINT,
    sweeps BIGINT NOT NULL,
    swept_at BIGINT,
    last_attempt TEXT,
    in_doubt BIGINT NOT NULL,
    closed_at BIGINT,
    first_claim_at BIGINT,
    retry_at BIGINT,
    failures BIGINT NOT NULL,
    last_failure TEXT,
    refreshable BIGINT NOT NULL,
    issued_at BIGINT NOT NULL,
    expires_at BIGINT,
    last_refreshed_at BIGINT,
    due_at BIGINT,
    wake_at BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (partner_id, id),
    FOREIGN KEY (partner_id, connection_id) REFERENCES connections (partner_id, id)
);

CREATE UNIQUE INDEX grants_connection ON grants (partner_id, connection_id);
CREATE INDEX grants_wake ON grants (wake_at) WHERE wake_at IS NOT NULL;
CREATE INDEX grants_wake_fair ON grants (partner_id, wake_at) WHERE wake_at IS NOT NULL;
CREATE INDEX grants_open ON grants (lease_until) WHERE attempt IS NOT NULL;
CREATE INDEX grants_revoking ON grants (updated_at) WHERE state = 'revoking';
