-- Accounts: the partners' end users. The external id is unique among the living.
CREATE TABLE accounts (
    id TEXT NOT NULL,
    partner_id TEXT NOT NULL REFERENCES partners (id),
    external_id TEXT NOT NULL,
    display_name TEXT,
    metadata TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    deleted_at BIGINT,
    PRIMARY KEY (partner_id, id)
);

CREATE UNIQUE INDEX accounts_external ON accounts (partner_id, external_id) WHERE deleted_at IS NULL;
