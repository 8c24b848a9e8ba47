//! Proves that a server which says that it is one of several writing nodes is refused, unless the
//! caller promises to write on this one only. The test changes a variable of the whole server, for
//! as few milliseconds as can be, and is a program of its own so that no other test meets it.

use crate::support::{Db, Raw};
use futoin_eventstream::{Consumer, ErrorKind, Want};

/// Lets the server draw every second id, as a node of a cluster does, until dropped.
struct ClusterNode(Raw);

impl ClusterNode {
    fn new(db: &Db) -> ClusterNode {
        let mut raw = db.raw();
        raw.exec("SET GLOBAL auto_increment_increment = 2");
        ClusterNode(raw)
    }
}

impl Drop for ClusterNode {
    fn drop(&mut self) {
        self.0.exec("SET GLOBAL auto_increment_increment = 1");
    }
}

on_servers!(
    a_cluster_is_refused_without_the_promise_to_write_on_one_node,
    [mariadb, mysql],
    |db| {
        let consumer = |options: &[(&str, &str)]| -> Consumer {
            let consumer = db.stream_with(options).consumer("app", "Audit").unwrap();
            consumer.register().unwrap();
            consumer
        };
        let (careless, careful) = (consumer(&[]), consumer(&[("single_writer_node", "true")]));
        let mut raw = db.raw();
        raw.exec("BEGIN");
        raw.exec(&db.insert_sql("GONE"));
        raw.exec("ROLLBACK");
        raw.exec(&db.insert_sql("AFTER_A_GAP"));

        let node = ClusterNode::new(db);
        let refused = careless.poll(None, &Want::all());
        let given = careful.poll(None, &Want::all());
        drop(node);

        let refused = refused.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::UnsafeServer);
        assert!(refused.to_string().contains("single_writer_node=true"), "{refused}");
        assert_eq!(given.unwrap().len(), 1);
        // It is no cluster any more.
        assert_eq!(careless.poll(None, &Want::all()).unwrap().len(), 1);
    }
);
