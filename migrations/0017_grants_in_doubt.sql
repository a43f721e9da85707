-- Grants in doubt are few, and counted every sweep.
CREATE INDEX grants_in_doubt ON grants (partner_id) WHERE in_doubt = 1;
