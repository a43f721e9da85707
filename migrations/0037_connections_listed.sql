-- How a connection is listed: the auth config that the partner named (absent: the one whose client it uses),
-- what it holds, its name for people, and the toolkits that it reaches, a row each.
ALTER TABLE connections ADD COLUMN listed_config_id TEXT;
ALTER TABLE connections ADD COLUMN scheme TEXT NOT NULL DEFAULT 'oauth2';
ALTER TABLE connections ADD COLUMN display_name TEXT;

CREATE TABLE connection_toolkits (
    partner_id TEXT NOT NULL,
    toolkit TEXT NOT NULL,
    connection_id TEXT NOT NULL,
    PRIMARY KEY (partner_id, toolkit, connection_id),
    FOREIGN KEY (partner_id, connection_id) REFERENCES connections (partner_id, id)
);

CREATE INDEX connection_toolkits_connection ON connection_toolkits (partner_id, connection_id);
