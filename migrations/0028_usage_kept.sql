-- From which hour on all receipts are there: older ones leave once they are rolled up, and their hours are not
-- computed anew any more.
ALTER TABLE usage_state ADD COLUMN kept_from BIGINT NOT NULL DEFAULT 0;
