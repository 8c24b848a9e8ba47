ALTER TABLE {history_table}
    MODIFY data LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci;
