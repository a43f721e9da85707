-- How far the scheduler came through a partner's due grants, and when it began: it goes on from there, and begins again
-- when the pass is old. One row a partner, where each grant that was sent had its own row rewritten.
CREATE TABLE due_passes (
    partner_id TEXT NOT NULL,
    began_at BIGINT NOT NULL,
    wake_at BIGINT NOT NULL,
    grant_id TEXT NOT NULL,
    PRIMARY KEY (partner_id)
);
-- In the order of the pass.
DROP INDEX grants_wake_fair;
CREATE INDEX grants_wake_fair ON grants (partner_id, wake_at, id) WHERE wake_at IS NOT NULL;
