-- The connections of one provider account under one OAuth client: who dies with a revocation, and who shares a refresh
-- token. It begins with the auth config, so that it serves what the index of that column alone served.
CREATE INDEX connections_sharing ON connections (auth_config_id, identity) WHERE revoked_at IS NULL;
DROP INDEX connections_auth_config;
