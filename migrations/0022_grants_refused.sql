-- When a call was refused with 401 although its token had just been fetched because of a 401. A path that
-- answers 401 to every token must not cost one refresh per call.
ALTER TABLE grants ADD COLUMN refused_at BIGINT;
