-- When the grant dies if nobody acts: the end of its refresh token, as the provider or its catalogue entry
-- says (idle and hard limits). Shown, and refreshed before where a refresh helps.
ALTER TABLE grants ADD COLUMN dies_at BIGINT;
