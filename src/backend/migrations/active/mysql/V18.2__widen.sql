-- TEXT ends at 64 KiB.
ALTER TABLE {event_table}
    MODIFY data LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci;

-- app:Audit and app:audit are two consumers.
ALTER TABLE {consumer_table}
    MODIFY ident VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL;
