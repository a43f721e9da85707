-- Attempts under way, in a table of their own that holds no others: a claim adds a row to a few pages and a landing takes
-- it away, where both rewrote the grant's row and all its index entries. No foreign key: a claim holds the grant's
-- row as it adds one here.
-- This moves what claims go by in one step, against the rule of README.md: servers of before would find no column to
-- claim by, and must stop first. None was released.
CREATE TABLE grant_attempts (
    partner_id TEXT NOT NULL,
    grant_id TEXT NOT NULL,
    attempt TEXT NOT NULL,
    replaced TEXT,
    holder TEXT NOT NULL,
    lease_until BIGINT NOT NULL,
    sweeps BIGINT NOT NULL,
    swept_at BIGINT,
    first_claim_at BIGINT NOT NULL,
    PRIMARY KEY (partner_id, grant_id)
);
INSERT INTO grant_attempts
    (partner_id, grant_id, attempt, holder, lease_until, sweeps, swept_at, first_claim_at)
    SELECT partner_id, id, attempt, holder, lease_until, sweeps, swept_at, COALESCE(first_claim_at, updated_at)
    FROM grants WHERE attempt IS NOT NULL AND holder IS NOT NULL AND lease_until IS NOT NULL;
DROP INDEX grants_open;
ALTER TABLE grants DROP COLUMN attempt;
ALTER TABLE grants DROP COLUMN holder;
ALTER TABLE grants DROP COLUMN lease_until;
ALTER TABLE grants DROP COLUMN sweeps;
ALTER TABLE grants DROP COLUMN swept_at;
