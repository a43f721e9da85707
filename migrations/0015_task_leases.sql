-- Scheduled tasks: a row each, claimed tick by tick.
CREATE TABLE task_leases (
    name TEXT PRIMARY KEY,
    slot BIGINT NOT NULL,
    owner TEXT NOT NULL,
    lease_until BIGINT NOT NULL,
    finished_at BIGINT,
    status TEXT
);
