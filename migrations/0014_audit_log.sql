-- The audit log. Appended only.
CREATE TABLE audit_log (
    id TEXT NOT NULL,
    partner_id TEXT NOT NULL REFERENCES partners (id),
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    details TEXT NOT NULL,
    request_id TEXT,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (partner_id, id)
);
