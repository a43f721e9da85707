-- What each refresh did: from version to version, outcome, duration. An attempt that was closed in doubt and
-- whose answer came home after all has two rows. Kept for `retention.refreshes_ms`.
CREATE TABLE refresh_history (
    partner_id TEXT NOT NULL,
    grant_id TEXT NOT NULL,
    attempt TEXT NOT NULL,
    from_version BIGINT NOT NULL,
    to_version BIGINT,
    outcome TEXT NOT NULL,
    failure TEXT,
    took BIGINT,
    ended_at BIGINT NOT NULL,
    PRIMARY KEY (partner_id, grant_id, attempt, outcome)
);

CREATE INDEX refresh_history_ended ON refresh_history (ended_at);
