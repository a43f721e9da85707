-- Connect sessions. Link and state are found by hash; open ones expire by time.
CREATE TABLE connect_sessions (
    id TEXT NOT NULL,
    partner_id TEXT NOT NULL,
    account_id TEXT NOT NULL,
    auth_config_id TEXT NOT NULL,
    provider TEXT NOT NULL,
    redirect_url TEXT NOT NULL,
    scopes TEXT NOT NULL,
    services TEXT NOT NULL,
    params TEXT NOT NULL,
    confirmation TEXT NOT NULL,
    status TEXT NOT NULL,
    error TEXT,
    link_hash BYTEA NOT NULL,
    state_hash BYTEA,
    binding_hash BYTEA,
    completion_hash BYTEA,
    verifier BYTEA,
    code BYTEA,
    code_sent_at BIGINT,
    connection_id TEXT,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (partner_id, id),
    FOREIGN KEY (partner_id, account_id) REFERENCES accounts (partner_id, id)
);

CREATE INDEX connect_sessions_link ON connect_sessions (link_hash);
CREATE INDEX connect_sessions_state ON connect_sessions (state_hash) WHERE state_hash IS NOT NULL;
CREATE INDEX connect_sessions_account ON connect_sessions (partner_id, account_id);
CREATE INDEX connect_sessions_open ON connect_sessions (expires_at)
    WHERE status IN ('pending', 'authorizing', 'awaiting_confirmation');
CREATE INDEX connect_sessions_final ON connect_sessions (updated_at)
    WHERE status IN ('completed', 'failed', 'expired');
