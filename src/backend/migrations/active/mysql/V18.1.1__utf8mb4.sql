ALTER TABLE {event_table} CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci;

ALTER TABLE {consumer_table} CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci;
