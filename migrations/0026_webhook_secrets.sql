-- What a partner's webhooks are signed with, sealed. A replaced one signs beside the new one for a while.
CREATE TABLE webhook_secrets (
    id TEXT NOT NULL,
    partner_id TEXT NOT NULL REFERENCES partners (id),
    sealed BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    ends_at BIGINT,
    PRIMARY KEY (partner_id, id)
);

-- One that has not been replaced, however many ask for it at once.
CREATE UNIQUE INDEX webhook_secrets_current ON webhook_secrets (partner_id) WHERE ends_at IS NULL;
