//! A name server that answers from a table, over UDP on the loopback, and counts what it was asked.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// What a name has.
#[derive(Clone, Debug)]
pub enum Entry {
    /// IPv4 addresses with a time to live in seconds.
    A(Vec<Ipv4Addr>, u32),
    /// Another name.
    Cname(&'static str),
    /// Services: priority, weight, port and target, with a time to live in seconds.
    Srv(Vec<(u16, u16, u16, &'static str)>, u32),
    /// An error with this code.
    Error(u8),
    /// No answer at all.
    Silence,
}

/// A running name server.
#[derive(Debug)]
pub struct Dns {
    addr: SocketAddr,
    table: Arc<Mutex<BTreeMap<String, Entry>>>,
    asked: Arc<Mutex<Vec<(String, u16)>>>,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Dns {
    /// Starts with the given names; any other name does not exist.
    pub fn start(names: &[(&str, Entry)]) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(100)))
            .unwrap();
        let table = names.iter().map(|(n, e)| ((*n).to_owned(), e.clone()));
        let table = Arc::new(Mutex::new(table.collect::<BTreeMap<_, _>>()));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let stopping = Arc::new(AtomicBool::new(false));
        let addr = socket.local_addr().unwrap();
        let (names, log, stop) = (
            Arc::clone(&table),
            Arc::clone(&asked),
            Arc::clone(&stopping),
        );
        let thread = std::thread::spawn(move || {
            let mut buf = [0; 1500];
            while !stop.load(Ordering::SeqCst) {
                let Ok((n, from)) = socket.recv_from(&mut buf) else {
                    continue;
                };
                let Some((name, kind)) = question(&buf[..n]) else {
                    continue;
                };
                log.lock().unwrap().push((name.clone(), kind));
                if let Some(answer) = answer(&names.lock().unwrap(), &buf[..n], &name, kind) {
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        Self {
            addr,
            table,
            asked,
            stopping,
            thread: Some(thread),
        }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Changes what a name has.
    pub fn set(&self, name: &str, entry: Entry) {
        self.table.lock().unwrap().insert(name.to_owned(), entry);
    }

    /// How often IPv4 addresses of `name` were asked for.
    pub fn asked(&self, name: &str) -> usize {
        let asked = self.asked.lock().unwrap();
        asked
            .iter()
            .filter(|(n, kind)| n == name && *kind == 1)
            .count()
    }

    /// How often services of `name` were asked for.
    pub fn asked_srv(&self, name: &str) -> usize {
        let asked = self.asked.lock().unwrap();
        asked
            .iter()
            .filter(|(n, kind)| n == name && *kind == 33)
            .count()
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The name and the type of a query's only question.
fn question(query: &[u8]) -> Option<(String, u16)> {
    let mut at = 12;
    let mut labels = Vec::new();
    loop {
        let n = usize::from(*query.get(at)?);
        if n == 0 {
            break;
        }
        let label = query.get(at + 1..at + 1 + n)?;
        labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
        at += 1 + n;
    }
    let kind = u16::from_be_bytes([*query.get(at + 1)?, *query.get(at + 2)?]);
    Some((labels.join("."), kind))
}

fn answer(table: &BTreeMap<String, Entry>, query: &[u8], name: &str, kind: u16) -> Option<Vec<u8>> {
    let mut records = Vec::new();
    let mut owner = name.to_owned();
    let mut code = 0;
    for _ in 0..4 {
        match table.get(&owner) {
            Some(Entry::Silence) => return None,
            Some(Entry::Cname(target)) => {
                records.push(record(&owner, 5, 60, &encode(target)));
                (*target).clone_into(&mut owner);
            }
            Some(Entry::A(addrs, ttl)) => {
                if kind == 1 {
                    records.extend(addrs.iter().map(|a| record(&owner, 1, *ttl, &a.octets())));
                }
                break;
            }
            Some(Entry::Srv(services, ttl)) => {
                if kind == 33 {
                    records.extend(services.iter().map(|service| {
                        let (priority, weight, port, target) = service;
                        let numbers = [priority, weight, port].map(|n| n.to_be_bytes());
                        let data = [numbers.concat(), encode(target)].concat();
                        record(&owner, 33, *ttl, &data)
                    }));
                }
                break;
            }
            Some(Entry::Error(error)) => {
                code = *error;
                break;
            }
            None => {
                code = 3;
                break;
            }
        }
    }
    let question_end = 12 + name.len() + 2 + 4;
    let mut out = query[..2].to_vec();
    out.extend_from_slice(&[0x81, 0x80 | code, 0, 1]);
    out.extend_from_slice(&u16::try_from(records.len()).unwrap().to_be_bytes());
    out.extend_from_slice(&[0, 0, 0, 0]);
    out.extend_from_slice(query.get(12..question_end)?);
    out.extend(records.concat());
    Some(out)
}

fn record(owner: &str, kind: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
    let mut out = encode(owner);
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&[0, 1]);
    out.extend_from_slice(&ttl.to_be_bytes());
    out.extend_from_slice(&u16::try_from(data.len()).unwrap().to_be_bytes());
    out.extend_from_slice(data);
    out
}

fn encode(name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for label in name.split('.') {
        out.push(u8::try_from(label.len()).unwrap());
        out.extend_from_slice(label.as_bytes());
    }
    out.push(0);
    out
}
