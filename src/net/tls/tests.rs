//! Both sides of a connection talk to each other over a pair of sockets.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion, version};

use super::accept::{Alert, Options};
use super::{ClientTls, Peer, ServerTls, Trouble, Version};
use crate::net::join::join2;
use crate::net::stream::{Idle, RecvHalf, SendHalf};
use crate::net::{Deadlines, Stream, runtime};

const LOCALHOST: Peer<'static> = Peer {
    name: "localhost",
    h2: false,
};

/// Settings of both sides that trust each other.
pub(super) fn settings(versions: &[&'static SupportedProtocolVersion]) -> (ServerTls, ClientTls) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der().clone()).unwrap();
    let secret = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let mut server = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], secret)
        .unwrap();
    server.max_early_data_size = 4096;
    server.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().unwrap();
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    (ServerTls::new(server, 16 << 10), ClientTls::new(client))
}

async fn accept(stream: &mut Stream, tls: &ServerTls, h2: bool) -> Result<(), Trouble> {
    let (hello, received) = stream.read_hello(Vec::new()).await;
    let options = Options {
        h2,
        keep_hello: true,
    };
    stream.accept_tls(received, hello?, tls, options).await
}

/// Two streams after a handshake: the server's, the client's.
async fn connected(
    deadlines: &Rc<Deadlines>,
    server: &ServerTls,
    client: &ClientTls,
) -> (Stream, Stream) {
    let (mut a, mut b) = Stream::pair(deadlines).unwrap();
    let (accepted, connected) = join2(
        accept(&mut a, server, true),
        b.connect_tls(client, LOCALHOST),
    )
    .await;
    accepted.unwrap();
    connected.unwrap();
    (a, b)
}

const BOTH: [&[&SupportedProtocolVersion]; 2] = [&[&version::TLS13], &[&version::TLS12]];

#[test]
fn a_handshake_agrees_and_bytes_cross() {
    runtime::on_each_driver(|| async {
        for (versions, expected) in BOTH.iter().zip([Version::Tls13, Version::Tls12]) {
            let deadlines = Deadlines::new();
            let (server, client) = settings(versions);
            let (mut a, mut b) = connected(&deadlines, &server, &client).await;
            let facts = a.tls().unwrap().clone();
            assert_eq!(facts.version, expected);
            assert_eq!(facts.alpn.as_deref(), Some(&b"h2"[..]));
            assert_eq!(facts.name.as_deref(), Some(&b"localhost"[..]));
            assert!(!facts.resumed && !facts.early.get() && facts.cipher != 0);
            assert!(
                facts
                    .hello
                    .as_ref()
                    .unwrap()
                    .ciphers
                    .contains(&facts.cipher)
            );
            assert_eq!(b.tls().unwrap().chain.len(), 1);
            let long: Vec<u8> = (0..300_000u32).map(|n| (n % 251) as u8).collect();
            let sent = long.clone();
            join2(
                async {
                    let head = b"head ".to_vec();
                    let within = Duration::from_secs(10);
                    let (result, _, _) = a.tx.send_all2_within(within, head, sent).await;
                    result.unwrap();
                    a.tx.finish().unwrap();
                    assert_eq!(a.tx.sent(), 300_005);
                },
                async {
                    let got = b.read_to_end().await;
                    assert!(got[..5] == *b"head " && got[5..] == long);
                },
            )
            .await;
            // The other direction is still open.
            let (result, _) = b.tx.send_all(b"bye".to_vec()).await;
            result.unwrap();
            drop(b);
            assert_eq!(a.read_to_end().await, b"bye");
            drop(a);
            assert!(deadlines.is_empty());
        }
    });
}

#[test]
fn who_always_has_room_to_send_leaves_others_their_turn() {
    runtime::on_each_driver(|| async {
        // Under epoll it is the socket that ends a turn, when it is full.
        if !runtime::on_ring() {
            return;
        }
        let deadlines = Deadlines::new();
        let (server, client) = settings(BOTH[0]);
        let (mut a, _b) = connected(&deadlines, &server, &client).await;
        let turns = Rc::new(Cell::new(0));
        let count = turns.clone();
        let other = runtime::spawn(async move {
            loop {
                runtime::yield_now().await;
                count.set(count.get() + 1);
            }
        });
        for _ in 0..80 {
            let (result, _) = a.tx.send_all(b"x".to_vec()).await;
            result.unwrap();
        }
        assert!((5..70).contains(&turns.get()), "{} turns", turns.get());
        // Who has just had to wait need not do it again.
        turns.set(0);
        for _ in 0..80 {
            crate::net::clock::in_turn(|| ());
            let (result, _) = a.tx.send_all(b"x".to_vec()).await;
            result.unwrap();
        }
        assert_eq!(turns.get(), 0);
        drop(other);
    });
}

#[test]
fn what_does_not_fit_a_socket_is_offered_again() {
    runtime::on_each_driver(|| async {
        let deadlines = Deadlines::new();
        let (server, client) = settings(BOTH[0]);
        let (mut a, mut b) = connected(&deadlines, &server, &client).await;
        let data: Vec<u8> = (0..3_000_000u32).map(|n| (n % 249) as u8).collect();
        let (mut at, mut refused, mut got) = (0, 0, Vec::new());
        while at < data.len() {
            match a.tx.try_send(&data[at..]).unwrap() {
                Some(n) => at += n,
                None => {
                    refused += 1;
                    // Now and then by the other way, which takes over where this one stopped.
                    if refused % 3 == 0 {
                        let rest = data[at..at + 70_000.min(data.len() - at)].to_vec();
                        at += rest.len();
                        join2(a.tx.send_all(rest), async {
                            while got.len() < at {
                                b.rx.recv_ready(&mut got).await.unwrap();
                            }
                        })
                        .await
                        .0
                        .0
                        .unwrap();
                    }
                    while b.rx.try_recv(&mut got).unwrap().is_some() {}
                }
            }
        }
        assert!(refused > 3);
        a.tx.finish().unwrap();
        got.extend(b.read_to_end().await);
        assert!(got == data);
    });
}

#[test]
fn a_small_room_takes_a_record_bit_by_bit() {
    runtime::on_each_driver(|| async {
        let deadlines = Deadlines::new();
        let (server, client) = settings(BOTH[0]);
        let (mut a, mut b) = connected(&deadlines, &server, &client).await;
        let (result, _) = b.tx.send_all(vec![7; 20_000]).await;
        result.unwrap();
        let mut got = 0;
        while got < 20_000 {
            a.rx.readable().await.unwrap();
            assert_eq!(a.rx.wait_idle(None).await.unwrap(), Idle::Ready);
            let mut buf = Vec::with_capacity(100);
            let room = buf.capacity();
            let n = a.rx.try_recv(&mut buf).unwrap().unwrap_or(0);
            assert!(n <= room && buf.capacity() == room);
            got += n;
        }
        assert_eq!(got, 20_000);
        assert!(a.rx.is_quiet() && !a.rx.is_ended());
        b.tx.finish().unwrap();
        a.rx.readable().await.unwrap();
        assert!(a.rx.is_ended() && !a.rx.is_quiet());
    });
}

#[test]
fn tickets_are_not_words() {
    runtime::on_each_driver(|| async {
        let deadlines = Deadlines::new();
        let (server, client) = settings(BOTH[0]);
        let (mut a, mut b) = connected(&deadlines, &server, &client).await;
        let idle = a.rx.wait_idle(Some(Duration::from_secs(9)));
        join2(
            async { assert_eq!(idle.await.unwrap(), Idle::Ready) },
            async {
                b.rx.readable().await.unwrap();
                assert!(b.rx.is_quiet() && !b.rx.is_ended());
                let (result, _) = b.tx.send_all(b"question".to_vec()).await;
                result.unwrap();
            },
        )
        .await;
        let mut got = Vec::new();
        a.rx.recv_ready(&mut got).await.unwrap();
        a.tx.try_send(b"answer").unwrap();
        b.rx.readable().await.unwrap();
        assert!(!b.rx.is_quiet());
        drop((a, b));
        // They are of use.
        let (a, b) = connected(&deadlines, &server, &client).await;
        assert!(a.tls().unwrap().resumed && b.tls().unwrap().resumed);
    });
}

#[test]
fn tickets_do_not_wait_for_a_request() {
    runtime::on_each_driver(|| async {
        let deadlines = Deadlines::new();
        let (server, client) = settings(BOTH[0]);
        let (mut a, mut b) = connected(&deadlines, &server, &client).await;
        // Nothing ends this wait but the client, which says its word only when it has got something.
        let long = Duration::from_secs(600);
        let idle = a.rx.wait_idle_patiently(Some(long), Some(long));
        join2(
            async { assert_eq!(idle.await.unwrap(), Idle::Ready) },
            async {
                b.rx.readable().await.unwrap();
                b.tx.try_send(b"question").unwrap();
            },
        )
        .await;
        // One whose request is here already gets them with its answer.
        let (mut a, mut b) = connected(&deadlines, &server, &client).await;
        b.tx.try_send(b"question").unwrap();
        let idle = a.rx.wait_idle_patiently(Some(long), Some(long)).await;
        assert_eq!(idle.unwrap(), Idle::Ready);
        let mut got = Vec::new();
        assert!(matches!(b.rx.try_recv(&mut got), Ok(None)) && b.rx.is_quiet());
        assert_eq!(a.rx.try_recv(&mut got).unwrap(), Some(8));
        a.tx.try_send(b"answer").unwrap();
        drop(a);
        assert_eq!(b.read_to_end().await, b"answer");
    });
}

#[test]
fn what_is_no_tls_is_handed_back_and_garbage_gets_an_alert() {
    runtime::on_each_driver(|| async {
        let deadlines = Deadlines::new();
        let (server, _) = settings(BOTH[0]);
        for (sent, trouble, answer) in [
            (&b"GET / HTTP/1.1\r\n"[..], Some(Trouble::NotTls), &b""[..]),
            (b"\x16\x03\x01\x00", Some(Trouble::Closed), b""),
            (b"", Some(Trouble::Closed), b""),
            (
                b"\x16\x02\x00\x00\x01\x01",
                None,
                b"\x15\x03\x03\x00\x02\x02\x46",
            ),
            (b"\x17\x03\x03\x00\x01\x00", Some(Trouble::NotTls), b""),
            (b"\x80\x2e\x01", None, b"\x15\x03\x03\x00\x02\x02\x46"),
            (
                b"\x16\x03\x01\xff\xff\x01",
                None,
                b"\x15\x03\x03\x00\x02\x02\x32",
            ),
            (
                b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03",
                None,
                b"\x15\x03\x03\x00\x02\x02\x32",
            ),
        ] {
            let (mut a, mut b) = Stream::pair(&deadlines).unwrap();
            b.tx.try_send(sent).unwrap_or(None);
            b.tx.finish().unwrap();
            let result = accept(&mut a, &server, false).await;
            match trouble {
                Some(trouble) => assert_eq!(result, Err(trouble), "{sent:?}"),
                None => assert!(matches!(result, Err(Trouble::Protocol(_))), "{sent:?}"),
            }
            drop(a);
            assert_eq!(b.read_to_end().await, answer, "{sent:?}");
        }
        let (mut a, mut b) = Stream::pair(&deadlines).unwrap();
        a.refuse_tls(Alert::UnrecognizedName);
        drop(a);
        assert_eq!(b.read_to_end().await, b"\x15\x03\x03\x00\x02\x02\x70");
    });
}

#[test]
fn peers_that_do_not_agree_tell_each_other_why() {
    runtime::on_each_driver(|| async {
        let deadlines = Deadlines::new();
        let (server, _) = settings(BOTH[0]);
        let (_, older) = settings(BOTH[1]);
        let (_, stranger) = settings(BOTH[0]);
        for (client, here, there) in [
            (
                &older,
                "unsupported protocol",
                "tlsv1 alert protocol version",
            ),
            (
                &stranger,
                "tlsv1 alert decrypt error",
                "certificate verify failed",
            ),
        ] {
            let (mut a, mut b) = Stream::pair(&deadlines).unwrap();
            let (accepted, connected) = join2(
                accept(&mut a, &server, false),
                b.connect_tls(client, LOCALHOST),
            )
            .await;
            for (result, expected) in [(accepted, here), (connected, there)] {
                match result {
                    Err(Trouble::Protocol(reason)) => assert_eq!(reason.text, expected),
                    other => panic!("{other:?}, not {expected}"),
                }
            }
        }
    });
}

/// Passes on what comes, one byte at a time.
async fn drip(from: &mut RecvHalf, to: &mut SendHalf) {
    loop {
        let (result, bytes) = from.recv(Vec::with_capacity(64)).await;
        if !matches!(result, Ok(1..)) {
            let _ = to.finish();
            return;
        }
        for byte in bytes {
            let (result, _) = to.send_all(vec![byte]).await;
            result.unwrap();
        }
    }
}

#[test]
fn everything_arrives_byte_by_byte() {
    runtime::on_each_driver(|| async {
        let deadlines = Deadlines::new();
        let (server, client) = settings(BOTH[0]);
        let (mut a, mut left) = Stream::pair(&deadlines).unwrap();
        let (mut b, mut right) = Stream::pair(&deadlines).unwrap();
        let wire = join2(
            drip(&mut left.rx, &mut right.tx),
            drip(&mut right.rx, &mut left.tx),
        );
        let server = async {
            accept(&mut a, &server, false).await.unwrap();
            assert_eq!(a.read_to_end().await, b"hello");
            drop(a);
        };
        let client = async {
            b.connect_tls(&client, LOCALHOST).await.unwrap();
            b.tx.try_send(b"hello").unwrap();
            b.tx.finish().unwrap();
            assert_eq!(b.read_to_end().await, b"");
            drop(b);
        };
        join2(wire, join2(server, client)).await;
    });
}

#[test]
fn a_silent_client_times_out() {
    runtime::on_each_driver(|| async {
        let deadlines = Deadlines::new();
        runtime::spawn(deadlines.clone().run());
        let (server, _) = settings(BOTH[0]);
        let (mut a, _b) = Stream::pair(&deadlines).unwrap();
        a.rx.arm(Duration::from_millis(40));
        assert_eq!(accept(&mut a, &server, false).await, Err(Trouble::TimedOut));
        deadlines.stop();
    });
}

#[test]
fn how_large_an_idle_connection_is() {
    let session = size_of::<super::session::Session>();
    assert!(session <= 2048, "{session}");
}
