-- What went wrong with a job, attempt by attempt; how often its worker died of it, or with it; and how many of
-- its attempts a retry by the operator has forgiven.
ALTER TABLE jobs ADD COLUMN history TEXT;
ALTER TABLE jobs ADD COLUMN lost BIGINT NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN forgiven BIGINT NOT NULL DEFAULT 0;
CREATE INDEX jobs_failed ON jobs (id) WHERE state = 'failed';
