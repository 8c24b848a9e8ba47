-- What was at the cursor, so that a stream that began anew is noticed.
ALTER TABLE {consumer_table} ADD COLUMN mark varchar(255);
