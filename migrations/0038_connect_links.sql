-- Connect sessions whose connection got its id before it stands, so that it can be named and listed on the
-- way. Once it stands the link is done, and is forgotten with its session; until then an id that a connection
-- did not take, because it kept an older one, leads to it.
CREATE TABLE connect_links (
    partner_id TEXT NOT NULL,
    id TEXT NOT NULL,
    session_id TEXT NOT NULL,
    account_id TEXT NOT NULL,
    config_id TEXT NOT NULL,
    toolkit TEXT NOT NULL,
    scheme TEXT NOT NULL,
    display_name TEXT,
    done BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (partner_id, id),
    FOREIGN KEY (partner_id, session_id) REFERENCES connect_sessions (partner_id, id) ON DELETE CASCADE
);

CREATE UNIQUE INDEX connect_links_session ON connect_links (partner_id, session_id);
CREATE INDEX connect_links_open ON connect_links (partner_id, id) WHERE done = 0;
CREATE INDEX connect_links_account ON connect_links (partner_id, account_id, id) WHERE done = 0;
