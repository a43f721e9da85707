-- With what the scheduler reads of a due grant: those due next lie side by side here, and one by one all over the table.
-- The columns that were added change only with `wake_at`, or never.
DROP INDEX grants_wake_fair;
CREATE INDEX grants_wake_fair ON grants (partner_id, wake_at, id, provider, auth_config_id, due_at, expires_at)
    WHERE wake_at IS NOT NULL;
