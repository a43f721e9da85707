-- Auth configs are offered as a toolkit (one service of the provider). `scheme` says what its connections
-- hold; `managed_by` names the operator's config whose client serves in its place; `tools` are those that its
-- connections may run (JSON, none for all). A deleted one stays, unseen, until its grants are revoked.
ALTER TABLE auth_configs ADD COLUMN toolkit TEXT;
ALTER TABLE auth_configs ADD COLUMN scheme TEXT NOT NULL DEFAULT 'oauth2';
ALTER TABLE auth_configs ADD COLUMN managed_by TEXT;
ALTER TABLE auth_configs ADD COLUMN display_name TEXT;
ALTER TABLE auth_configs ADD COLUMN tools TEXT;
ALTER TABLE auth_configs ADD COLUMN deleted_at BIGINT;
