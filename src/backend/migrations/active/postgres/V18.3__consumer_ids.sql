-- A smallint ends at 32,767 registrations in a lifetime, and so does its sequence. A view on the column
-- keeps it as it is: then free ids are used again. Event ids end below 10^18.
DO $do$
DECLARE
    consumers text := pg_get_serial_sequence('{consumer_table}', 'id');
    events text := pg_get_serial_sequence('{event_table}', 'id');
    last bigint;
BEGIN
    BEGIN
        ALTER TABLE {consumer_table} ALTER COLUMN id TYPE bigint;
        EXECUTE 'ALTER SEQUENCE ' || consumers || ' AS bigint MAXVALUE 9223372036854775807';
    EXCEPTION WHEN feature_not_supported THEN
        RAISE NOTICE 'the ids of {consumer_table} stay as they are: %', SQLERRM;
    END;
    EXECUTE 'SELECT last_value FROM ' || events INTO last;
    IF last < 999999999999999999 THEN
        EXECUTE 'ALTER SEQUENCE ' || events || ' MAXVALUE 999999999999999999';
    END IF;
END $do$;
