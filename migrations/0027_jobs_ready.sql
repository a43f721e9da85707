-- Whether any job's time has come, without looking at each partner: asked several times a second.
CREATE INDEX jobs_ready ON jobs (wake_at) WHERE wake_at IS NOT NULL;
