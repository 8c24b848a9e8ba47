//! A proxy that splits reads and writes, as some do before MySQL and MariaDB: what reads outside of a
//! transaction goes to a replica. For users without a password, without TLS.

use std::io::{Read, Result, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// In the highest byte of the number of a prepared statement: it is one of the replica's.
const REPLICAS: u8 = 0x80;

/// Starts the proxy, which stays as long as the process; gives its port. `spoil` may change what the
/// servers are told.
pub fn start(primary: u16, replica: u16, spoil: fn(&mut Vec<u8>)) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for client in listener.incoming() {
            thread::spawn(move || serve(client?, primary, replica, spoil));
        }
    });
    port
}

/// The payload of a packet, and its number.
fn read_packet(from: &mut TcpStream) -> Result<(u8, Vec<u8>)> {
    let mut head = [0; 4];
    from.read_exact(&mut head)?;
    let mut body = vec![0; u32::from_le_bytes([head[0], head[1], head[2], 0]) as usize];
    from.read_exact(&mut body)?;
    Ok((head[3], body))
}

fn write_packet(to: &mut TcpStream, number: u8, body: &[u8]) -> Result<()> {
    let mut packet = (body.len() as u32).to_le_bytes()[..3].to_vec();
    packet.push(number);
    packet.extend(body);
    to.write_all(&packet)
}

fn serve(mut client: TcpStream, primary: u16, replica: u16, spoil: fn(&mut Vec<u8>)) -> Result<()> {
    client.set_nodelay(true)?;
    let mut servers =
        [primary, replica].map(|port| TcpStream::connect(("127.0.0.1", port)).unwrap());
    for server in &servers {
        server.set_nodelay(true)?;
    }
    log_in(&mut client, &mut servers)?;
    let [mut primary, mut replica] = servers;
    let prepares = Arc::new(AtomicBool::new(false));
    for (server, mark) in [(&primary, 0), (&replica, REPLICAS)] {
        let (from, to, prepares) = (server.try_clone()?, client.try_clone()?, prepares.clone());
        thread::spawn(move || {
            let _ = answer(&from, &to, mark, &prepares);
            let _ = to.shutdown(Shutdown::Both);
        });
    }
    let mut in_transaction = false;
    while let Ok((number, mut body)) = read_packet(&mut client) {
        let text = String::from_utf8_lossy(&body[1..]).to_uppercase();
        let reads = (text.starts_with("SELECT") || text.starts_with("SHOW"))
            && !text.contains("NOWAIT")
            && !in_transaction;
        let to_replica = match body[0] {
            0x03 | 0x16 => reads,
            0x17..=0x1a => std::mem::replace(&mut body[4], 0) == REPLICAS,
            _ => false,
        };
        prepares.store(body[0] == 0x16, Ordering::Release);
        if body[0] == 0x03 && !reads {
            match text.split(' ').next() {
                Some("START" | "BEGIN") => in_transaction = true,
                Some("COMMIT" | "ROLLBACK") => in_transaction = false,
                _ => {}
            }
        }
        spoil(&mut body);
        write_packet(if to_replica { &mut replica } else { &mut primary }, number, &body)?;
    }
    let _ = (primary.shutdown(Shutdown::Both), replica.shutdown(Shutdown::Both));
    Ok(())
}

/// Passes on what a server answers; a statement that was prepared gets its mark.
fn answer(mut from: &TcpStream, mut to: &TcpStream, mark: u8, prepares: &AtomicBool) -> Result<()> {
    let mut bytes = vec![0; 64 << 10];
    loop {
        let count = from.read(&mut bytes)?;
        if count == 0 {
            return Ok(());
        }
        // The head of the packet, OK, and the number.
        if prepares.swap(false, Ordering::AcqRel) && count > 8 && bytes[4] == 0 {
            bytes[8] |= mark;
        }
        to.write_all(&bytes[..count])?;
    }
}

/// The client logs in at both, by what it tells the first.
fn log_in(client: &mut TcpStream, servers: &mut [TcpStream; 2]) -> Result<()> {
    let (number, greeting) = read_packet(&mut servers[0])?;
    read_packet(&mut servers[1])?;
    write_packet(client, number, &greeting)?;
    loop {
        let (number, answer) = read_packet(client)?;
        let mut verdicts = Vec::new();
        for server in servers.iter_mut() {
            write_packet(server, number, &answer)?;
            verdicts.push(read_packet(server)?);
        }
        write_packet(client, verdicts[0].0, &verdicts[0].1)?;
        if matches!(verdicts[0].1[0], 0 | 0xff) {
            return Ok(());
        }
    }
}
