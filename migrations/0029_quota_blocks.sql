-- Calls of a month that were handed out to a process and are not in the ledger yet. What a process that died had
-- left comes back when its block expires.
CREATE TABLE quota_blocks (
    id TEXT NOT NULL,
    partner_id TEXT NOT NULL REFERENCES partners (id),
    month BIGINT NOT NULL,
    calls BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (partner_id, id)
);
