-- Calls: the receipts and the billing ledger. `hour` is the hour in which the outcome was known (none while
-- it is `sent`), `recorded_at` when the outcome was written: roll-ups find what is new by it.
CREATE TABLE calls (
    id TEXT NOT NULL,
    partner_id TEXT NOT NULL REFERENCES partners (id),
    account_id TEXT,
    connection_id TEXT,
    provider TEXT NOT NULL,
    service TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    method TEXT NOT NULL,
    path TEXT NOT NULL,
    status BIGINT,
    outcome TEXT NOT NULL,
    billed BIGINT NOT NULL,
    not_billed_reason TEXT,
    bytes_in BIGINT NOT NULL,
    bytes_out BIGINT NOT NULL,
    queued BIGINT NOT NULL,
    throttled BIGINT NOT NULL,
    token_wait BIGINT NOT NULL,
    provider_time BIGINT NOT NULL,
    attempt BIGINT NOT NULL,
    job_id TEXT,
    request_id TEXT,
    created_at BIGINT NOT NULL,
    completed_at BIGINT,
    hour BIGINT,
    recorded_at BIGINT NOT NULL,
    PRIMARY KEY (partner_id, id)
);

CREATE INDEX calls_hour ON calls (partner_id, hour) WHERE hour IS NOT NULL;
CREATE INDEX calls_recorded ON calls (recorded_at) WHERE hour IS NOT NULL;
CREATE INDEX calls_sent ON calls (created_at) WHERE outcome = 'sent';
CREATE INDEX calls_job ON calls (partner_id, job_id) WHERE job_id IS NOT NULL;
