-- Jobs. What waits is found by urgency and partner, so that the reconciler can be fair.
CREATE TABLE jobs (
    id TEXT NOT NULL,
    partner_id TEXT NOT NULL REFERENCES partners (id),
    kind TEXT NOT NULL,
    urgency TEXT NOT NULL,
    state TEXT NOT NULL,
    visible BIGINT NOT NULL,
    account_id TEXT,
    provider TEXT,
    service TEXT,
    action TEXT,
    payload TEXT NOT NULL,
    sealed BYTEA,
    result BYTEA,
    error_code TEXT,
    error TEXT,
    attempts BIGINT NOT NULL,
    run_at BIGINT NOT NULL,
    wake_at BIGINT,
    dispatched_at BIGINT,
    claim TEXT,
    lease_until BIGINT,
    deadline_at BIGINT,
    request_id TEXT,
    created_at BIGINT NOT NULL,
    started_at BIGINT,
    completed_at BIGINT,
    expires_at BIGINT,
    PRIMARY KEY (partner_id, id)
);

CREATE INDEX jobs_wake ON jobs (urgency, partner_id, wake_at) WHERE wake_at IS NOT NULL;
CREATE INDEX jobs_running ON jobs (lease_until) WHERE state = 'running';
CREATE INDEX jobs_deadline ON jobs (deadline_at) WHERE state = 'queued' AND deadline_at IS NOT NULL;
CREATE INDEX jobs_expiry ON jobs (expires_at)
    WHERE state IN ('completed', 'failed', 'canceled') AND expires_at IS NOT NULL;
