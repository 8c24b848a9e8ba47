//! Servers, networks and disks as users have them.

mod cluster;
mod connect;
mod failover;
mod failover_my;
mod hosts;
mod impostors;
mod locks;
mod poolers;
mod replicas_my;
mod replicas_pg;
mod resources;
mod rewind;
mod roles;
#[cfg(unix)]
mod server_disk;
mod sessions;
mod sessions_my;
mod silence;
mod sqlite_disk;
#[cfg(feature = "tls")]
mod tls;
