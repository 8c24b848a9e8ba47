//! A proxy that splits reads and writes, as some do before PostgreSQL: a test says which statements
//! outside of transactions go to another server; settings of a session go to both. For users without a password, without TLS.

use std::collections::HashMap;
use std::io::{Read, Result, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

/// Whether a statement goes to the other server, by its text and whether it is a prepared one.
pub type Elsewhere = fn(sql: &str, prepared: bool) -> bool;

/// Starts the proxy, which stays as long as the process; gives its port.
pub fn start(primary: u16, other: u16, elsewhere: Elsewhere) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for client in listener.incoming() {
            thread::spawn(move || serve(client?, [primary, other], elsewhere));
        }
    });
    port
}

/// A whole message: its kind, its length, its payload. The first one of a session has no kind.
fn read(from: &mut TcpStream, is_first: bool) -> Result<Vec<u8>> {
    let head = if is_first { 4 } else { 5 };
    let mut message = vec![0; head];
    from.read_exact(&mut message)?;
    let length = u32::from_be_bytes(message[head - 4..].try_into().unwrap()) as usize;
    message.resize(head - 4 + length, 0);
    from.read_exact(&mut message[head..])?;
    Ok(message)
}

/// The texts of a message, each ended by a zero byte, from a place on.
fn text(message: &[u8], index: usize) -> String {
    let text = message[5..].split(|byte| *byte == 0).nth(index).unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

/// Passes on what a server answers until it is ready; whether it is in a transaction then.
fn answer(server: &mut TcpStream, client: Option<&mut TcpStream>) -> Result<bool> {
    let mut all = Vec::new();
    let idle = loop {
        let message = read(server, false)?;
        all.extend_from_slice(&message);
        if message[0] == b'Z' {
            break message[5] == b'I';
        }
    };
    client.map_or(Ok(()), |client| client.write_all(&all))?;
    Ok(!idle)
}

fn serve(mut client: TcpStream, ports: [u16; 2], elsewhere: Elsewhere) -> Result<()> {
    let mut servers = ports.map(|port| TcpStream::connect(("127.0.0.1", port)).unwrap());
    let login = read(&mut client, true)?;
    for server in &mut servers {
        server.set_nodelay(true)?;
        server.write_all(&login)?;
    }
    answer(&mut servers[0], Some(&mut client))?;
    answer(&mut servers[1], None)?;
    let (mut in_transaction, mut statements) = (false, HashMap::new());
    loop {
        // What belongs together ends with a query or with Sync.
        let (mut group, mut to) = (Vec::new(), None);
        loop {
            let message = read(&mut client, false)?;
            group.extend_from_slice(&message);
            let choose =
                |sql: &str, prepared| usize::from(!in_transaction && elsewhere(sql, prepared));
            match message[0] {
                b'Q' => to = Some(choose(&text(&message, 0), false)),
                b'P' => {
                    let server = choose(&text(&message, 1), true);
                    statements.insert(text(&message, 0), server);
                    to = Some(server);
                }
                b'B' => to = to.or(statements.get(&text(&message, 1)).copied()),
                b'C' => to = to.or(statements.get(&text(&message, 0)[1..]).copied()),
                _ => {}
            }
            if matches!(message[0], b'Q' | b'S' | b'X') {
                break;
            }
        }
        let to = to.unwrap_or(0);
        // Settings are made on both.
        if group[0] == b'Q' && text(&group, 0).contains("; SET fes.session") {
            servers[1 - to].write_all(&group)?;
            answer(&mut servers[1 - to], None)?;
        }
        servers[to].write_all(&group)?;
        let open = answer(&mut servers[to], Some(&mut client))?;
        if to == 0 {
            in_transaction = open;
        }
    }
}
