-- Webhooks: what a partner's are signed with, sealed (a replaced secret signs beside the new one for a while),
-- and the callback addresses that answered 410 Gone, where nothing is posted until `until`.
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

CREATE TABLE callbacks_gone (
    partner_id TEXT NOT NULL REFERENCES partners (id),
    address_hash BYTEA NOT NULL,
    until BIGINT NOT NULL,
    PRIMARY KEY (partner_id, address_hash)
);
