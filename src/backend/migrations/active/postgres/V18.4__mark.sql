-- What was at the cursor, so that a stream that began anew is noticed.
ALTER TABLE {consumer_table} ADD COLUMN IF NOT EXISTS mark varchar(255);
