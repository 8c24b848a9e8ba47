ALTER TABLE {history_table} CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci;
