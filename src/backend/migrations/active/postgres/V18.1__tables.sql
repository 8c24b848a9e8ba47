CREATE TABLE IF NOT EXISTS {event_table} (
    id bigserial NOT NULL PRIMARY KEY,
    type varchar(16) NOT NULL,
    data json NOT NULL,
    ts timestamp NOT NULL
);

CREATE TABLE IF NOT EXISTS {consumer_table} (
    id smallserial NOT NULL PRIMARY KEY,
    last_evt_id bigint NOT NULL DEFAULT 0,
    reg_time timestamp NOT NULL,
    last_time timestamp NOT NULL,
    ident varchar(64) NOT NULL UNIQUE
);

CREATE INDEX IF NOT EXISTS {consumer_index} ON {consumer_table}(last_evt_id);
