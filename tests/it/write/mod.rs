//! What adds events: by itself, in a transaction, on the caller's own connection.

mod generator;
mod own_connection;
