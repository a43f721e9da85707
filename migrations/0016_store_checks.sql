-- One row that readiness writes, to tell a full or read-only store.
CREATE TABLE store_checks (
    id BIGINT PRIMARY KEY,
    checked_at BIGINT NOT NULL
);
