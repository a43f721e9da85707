-- Usage roll-ups, recomputed from `calls`: hour, day, period (UTC calendar month).
CREATE TABLE usage_hourly (
    partner_id TEXT NOT NULL REFERENCES partners (id),
    start BIGINT NOT NULL,
    provider TEXT NOT NULL,
    service TEXT NOT NULL,
    calls BIGINT NOT NULL,
    billed BIGINT NOT NULL,
    bytes_in BIGINT NOT NULL,
    bytes_out BIGINT NOT NULL,
    PRIMARY KEY (partner_id, start, provider, service)
);

CREATE TABLE usage_daily (
    partner_id TEXT NOT NULL REFERENCES partners (id),
    start BIGINT NOT NULL,
    provider TEXT NOT NULL,
    service TEXT NOT NULL,
    calls BIGINT NOT NULL,
    billed BIGINT NOT NULL,
    bytes_in BIGINT NOT NULL,
    bytes_out BIGINT NOT NULL,
    PRIMARY KEY (partner_id, start, provider, service)
);

CREATE TABLE usage_period (
    partner_id TEXT NOT NULL REFERENCES partners (id),
    start BIGINT NOT NULL,
    provider TEXT NOT NULL,
    service TEXT NOT NULL,
    calls BIGINT NOT NULL,
    billed BIGINT NOT NULL,
    bytes_in BIGINT NOT NULL,
    bytes_out BIGINT NOT NULL,
    PRIMARY KEY (partner_id, start, provider, service)
);

-- One row: up to where receipts were rolled up.
CREATE TABLE usage_state (
    id BIGINT PRIMARY KEY,
    watermark BIGINT NOT NULL
);
