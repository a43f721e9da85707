-- Whether a job that lost workers before runs while no other such job does: only then is the next loss its own.
ALTER TABLE jobs ADD COLUMN alone BIGINT NOT NULL DEFAULT 0;
