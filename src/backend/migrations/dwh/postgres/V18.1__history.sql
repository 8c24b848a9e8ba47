CREATE TABLE IF NOT EXISTS {history_table} (
    id bigint NOT NULL PRIMARY KEY,
    type varchar(16) NOT NULL,
    data json NOT NULL,
    ts timestamp NOT NULL
);
