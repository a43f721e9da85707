-- Lists of connections by any one filter, in the order of their ids, which is that of their making.
CREATE INDEX connections_living ON connections (partner_id, id) WHERE revoked_at IS NULL;
CREATE INDEX connections_account ON connections (partner_id, account_id, id) WHERE revoked_at IS NULL;
CREATE INDEX connections_config ON connections (partner_id, COALESCE(listed_config_id, auth_config_id), id)
    WHERE revoked_at IS NULL;
CREATE INDEX connections_label ON connections (partner_id, label, id) WHERE revoked_at IS NULL;
CREATE INDEX connections_updated ON connections (partner_id, updated_at, id) WHERE revoked_at IS NULL;
CREATE INDEX connections_paused ON connections (partner_id, id) WHERE status = 'paused';
CREATE INDEX grants_lost ON grants (partner_id, connection_id)
    WHERE state = 'needs_reauth' AND reason = 'invalid_grant';
CREATE INDEX grants_unsure ON grants (partner_id, connection_id)
    WHERE state = 'needs_reauth' AND (reason IS NULL OR reason <> 'invalid_grant');
CREATE INDEX grants_ending ON grants (partner_id, connection_id)
    WHERE state = 'active' AND refreshable = 0 AND expires_at IS NOT NULL;
