-- An end user can be switched off: an inactive one is not acted for by name. On unless somebody says so.
ALTER TABLE accounts ADD COLUMN active BIGINT NOT NULL DEFAULT 1;
