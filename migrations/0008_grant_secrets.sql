-- The sealed token sets.
CREATE TABLE grant_secrets (
    grant_id TEXT NOT NULL,
    partner_id TEXT NOT NULL,
    version BIGINT NOT NULL,
    sealed BYTEA NOT NULL,
    PRIMARY KEY (partner_id, grant_id),
    FOREIGN KEY (partner_id, grant_id) REFERENCES grants (partner_id, id)
);
