-- SMALLINT ends at 32,767 registrations in a lifetime.
ALTER TABLE {consumer_table} MODIFY id BIGINT NOT NULL AUTO_INCREMENT;
