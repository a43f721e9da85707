-- What follows a job: another row that is held (queued, without a wake-up) until this one has ended.
ALTER TABLE jobs ADD COLUMN then_job TEXT;
