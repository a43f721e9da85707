-- Callback addresses that answered 410 Gone: nothing is posted there until `until`.
CREATE TABLE callbacks_gone (
    partner_id TEXT NOT NULL REFERENCES partners (id),
    address_hash BYTEA NOT NULL,
    until BIGINT NOT NULL,
    PRIMARY KEY (partner_id, address_hash)
);
