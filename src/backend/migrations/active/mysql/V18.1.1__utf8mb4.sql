ALTER TABLE {event_table} CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci;

-- Its one text, the ident, is converted by 18.2: a collation that ignores case, even in between, would
-- refuse two idents that differ in nothing else.
ALTER TABLE {consumer_table} DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci;
