-- Partners, and the operator as a partner of its own: it owns the shared auth configs and the pepper.
CREATE TABLE partners (
    id TEXT PRIMARY KEY,
    company TEXT NOT NULL,
    website TEXT NOT NULL,
    contact_email TEXT,
    use_case TEXT,
    plan TEXT NOT NULL,
    status TEXT NOT NULL,
    confirmation TEXT NOT NULL,
    redirect_urls TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

INSERT INTO partners (id, company, website, plan, status, confirmation, redirect_urls, created_at, updated_at)
VALUES ('prt_00000000000000000000000000000000', 'Operator', '', 'operator', 'active', 'none', '[]', 0, 0);
