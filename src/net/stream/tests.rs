//! Streams over pairs of sockets, on both drivers.

use super::send::JOIN_BYTES_MAX;
use super::*;
use crate::net::join::join2;
use bytes::Bytes;

#[test]
fn both_halves_work_at_once() {
    runtime::on_each_driver(|| async {
        let deadlines = Deadlines::new();
        let (mut a, mut b) = Stream::pair(&deadlines).unwrap();
        let echo = runtime::spawn(async move {
            loop {
                let (n, buf) = b.rx.recv(Vec::with_capacity(1000)).await;
                if n.unwrap() == 0 {
                    break;
                }
                let (result, _) = b.tx.send_all(buf).await;
                result.unwrap();
            }
        });
        let sent: Vec<u8> = (0..1_000_000u32).map(|n| (n % 241) as u8).collect();
        let expected = sent.clone();
        let Stream { rx, tx } = &mut a;
        let (_, got) = join2(
            async {
                let (result, _) = tx.send_all(sent).await;
                result.unwrap();
                tx.finish().unwrap();
            },
            async {
                let mut got = Vec::new();
                while rx.recv_ready(&mut got).await.unwrap() > 0 {}
                got
            },
        )
        .await;
        assert!(got == expected);
        echo.await;
        drop(a);
        assert!(deadlines.is_empty());
    });
}

#[test]
fn receiving_appends_and_makes_room() {
    runtime::on_each_driver(|| async {
        let (mut a, mut b) = Stream::pair(&Deadlines::new()).unwrap();
        assert_eq!(a.tx.try_send(b"world").unwrap(), Some(5));
        let (n, buf) = b.rx.recv(b"hello ".to_vec()).await;
        assert_eq!((n.unwrap(), &buf[..]), (5, &b"hello world"[..]));
        let mut buf = buf;
        assert_eq!(b.rx.try_recv(&mut buf).unwrap(), None);
        assert!(b.rx.is_quiet());
        a.tx.try_send(b"!").unwrap();
        b.rx.readable().await.unwrap();
        assert!(!b.rx.is_quiet());
        assert_eq!(b.rx.try_recv(&mut buf).unwrap(), Some(1));
        assert_eq!(buf, b"hello world!");
        drop(a);
        b.rx.readable().await.unwrap();
        assert!(!b.rx.is_quiet());
    });
}

#[test]
fn head_and_body_arrive_in_order_whatever_their_size() {
    runtime::on_each_driver(|| async {
        for size in [0, 10, JOIN_BYTES_MAX, JOIN_BYTES_MAX + 1, 100_000] {
            let (mut a, mut b) = Stream::pair(&Deadlines::new()).unwrap();
            let sender = runtime::spawn(async move {
                let body = Bytes::from(vec![b'b'; size]);
                let within = Duration::from_secs(10);
                let (result, head, body) =
                    a.tx.send_all2_within(within, b"head:".to_vec(), body).await;
                assert!(head.starts_with(b"head:"));
                result.unwrap();
                assert_eq!(body.len(), size);
                a.tx.finish().unwrap();
            });
            let mut got = Vec::new();
            while b.rx.recv_ready(&mut got).await.unwrap() > 0 {}
            sender.await;
            assert_eq!(&got[..5], b"head:");
            assert!(got.len() == size + 5 && got[5..].iter().all(|b| *b == b'b'));
        }
    });
}

#[test]
fn a_dropped_wait_loses_nothing() {
    runtime::on_each_driver(|| async {
        let (mut a, mut b) = Stream::pair(&Deadlines::new()).unwrap();
        let mut buf = Vec::new();
        for _ in 0..3 {
            let waiting = std::pin::pin!(b.rx.recv_ready(&mut buf));
            let other = std::pin::pin!(runtime::yield_now());
            crate::net::join::race(waiting, other).await;
        }
        a.tx.try_send(b"kept").unwrap();
        assert_eq!(b.rx.recv_ready(&mut buf).await.unwrap(), 4);
        assert_eq!(buf, b"kept");
    });
}

#[test]
fn deadlines_end_a_receive_and_a_blocked_send() {
    runtime::on_each_driver(|| async {
        let deadlines = Deadlines::new();
        runtime::spawn(deadlines.clone().run());
        let within = Duration::from_millis(30);
        let (mut a, b) = Stream::pair(&deadlines).unwrap();
        let before = crate::net::clock::mono();
        let (result, _) = a.rx.recv_within(within, Vec::new()).await;
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(crate::net::clock::mono().ms_since(before) >= 30);
        assert_eq!(a.expired(), Some(Expired::Recv));
        // What waited to be received timed out; an answer can still be sent.
        assert_eq!(a.tx.try_send(b"408").unwrap(), Some(3));
        let (mut c, d) = Stream::pair(&deadlines).unwrap();
        let (result, _) = c.tx.send_all_within(within, vec![0; 8 << 20]).await;
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(c.expired(), Some(Expired::Send));
        drop((b, d));
        deadlines.stop();
    });
}

#[test]
fn a_wait_without_a_buffer_leaves_its_end_to_the_receive() {
    runtime::on_each_driver(|| async {
        let deadlines = Deadlines::new();
        runtime::spawn(deadlines.clone().run());
        let (mut a, mut b) = Stream::pair(&deadlines).unwrap();
        let long = Duration::from_secs(60);
        // From the second one on there may be a wait.
        for word in [b"one", b"two", b"six"] {
            let news = join2(b.rx.news_within(long), async {
                runtime::yield_now().await;
                a.tx.try_send(word).unwrap();
            });
            news.await;
            let (result, got) = b.rx.recv_within(long, Vec::new()).await;
            assert_eq!((result.unwrap(), got.as_slice()), (3, &word[..]));
        }
        let within = Duration::from_millis(30);
        b.rx.news_within(within).await;
        let (result, _) = b.rx.recv_within(within, Vec::new()).await;
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(b.expired(), Some(Expired::Recv));
        let (c, mut d) = Stream::pair(&deadlines).unwrap();
        drop(c);
        d.rx.news_within(long).await;
        let (result, _) = d.rx.recv_within(long, Vec::new()).await;
        assert_eq!(result.unwrap(), 0);
        deadlines.stop();
    });
}

#[test]
fn what_was_received_ahead_comes_first_and_makes_a_socket_neither_quiet_nor_ended() {
    runtime::on_each_driver(|| async {
        let deadlines = Deadlines::new();
        let (mut a, mut b) = Stream::pair(&deadlines).unwrap();
        let mut got = Vec::new();
        // The first receive finds the socket empty afterwards, so that the next wait is one for news.
        a.tx.try_send(b"0").unwrap();
        assert_eq!(b.rx.recv_ready(&mut got).await.unwrap(), 1);
        got.clear();
        let (idle, ()) = join2(b.rx.wait_idle(None), async {
            runtime::yield_now().await;
            a.tx.try_send(&[b'1'; 3000]).unwrap();
            a.tx.finish().unwrap();
        })
        .await;
        assert_eq!(idle.unwrap(), Idle::Ready);
        got.reserve_exact(1000);
        while got.len() < 3000 {
            assert!(!b.rx.is_quiet() && !b.rx.is_ended());
            b.rx.news_within(Duration::from_secs(60)).await;
            b.rx.readable().await.unwrap();
            assert_eq!(b.rx.wait_idle(None).await.unwrap(), Idle::Ready);
            let mut part = Vec::with_capacity(1000);
            part.push(b'!');
            let (result, part) = b.rx.recv(part).await;
            assert_eq!(result.unwrap(), part.len() - 1);
            got.extend_from_slice(&part[1..]);
        }
        assert!(got == [b'1'; 3000] && b.rx.is_ended());
        let (result, _) = b.rx.recv(Vec::new()).await;
        assert_eq!(result.unwrap(), 0);
    });
}

#[test]
fn an_idle_wait_ends_by_bytes_time_or_drain() {
    runtime::on_each_driver(|| async {
        let deadlines = Deadlines::new();
        runtime::spawn(deadlines.clone().run());
        let long = Some(Duration::from_secs(60));
        let (mut a, mut b) = Stream::pair(&deadlines).unwrap();
        a.tx.try_send(b"GET").unwrap();
        assert_eq!(b.rx.wait_idle(long).await.unwrap(), Idle::Ready);
        let (idle, ()) = join2(b.rx.wait_idle(long), async {
            // Under epoll the wait is over already.
            assert_eq!(
                deadlines.close_idle(usize::MAX, true),
                deadlines.idle_count()
            );
        })
        .await;
        // A drain does not cut off a request that is already here.
        assert_eq!(idle.unwrap(), Idle::Ready);
        let mut got = Vec::new();
        assert_eq!(b.rx.try_recv(&mut got).unwrap(), Some(3));
        let (idle, ()) = join2(b.rx.wait_idle(long), async {
            deadlines.close_idle(usize::MAX, true);
        })
        .await;
        assert_eq!(idle.unwrap(), Idle::Drained);
        assert_eq!(deadlines.idle_count(), 0);
        let (mut c, d) = Stream::pair(&deadlines).unwrap();
        let impatient = Some(Duration::from_millis(10));
        let idle = c.rx.wait_idle_patiently(long, impatient).await;
        assert_eq!(idle.unwrap(), Idle::Long);
        assert_eq!((deadlines.idle_count(), c.expired()), (0, None));
        let short = Some(Duration::from_millis(20));
        assert_eq!(c.rx.wait_idle(short).await.unwrap(), Idle::Expired);
        drop(d);
        deadlines.stop();
    });
}

#[test]
fn a_watched_client_that_leaves_cuts_the_stream_linked_to_it() {
    runtime::on_each_driver(|| async {
        let deadlines = Deadlines::new();
        runtime::spawn(deadlines.clone().run());
        let (client, down) = Stream::pair(&deadlines).unwrap();
        let (mut up, origin) = Stream::pair(&deadlines).unwrap();
        down.watch(Some(up.mark()));
        let (got, ()) = join2(up.rx.recv(Vec::new()), async { drop(client) }).await;
        assert_eq!(got.0.unwrap(), 0);
        assert!(down.peer_gone() && up.cut() && !up.peer_gone());
        drop(origin);
        deadlines.stop();
    });
}

#[test]
fn a_link_does_not_reach_who_took_the_place_of_the_linked() {
    runtime::on_each_driver(|| async {
        let deadlines = Deadlines::new();
        let (client, down) = Stream::pair(&deadlines).unwrap();
        let (up, origin) = Stream::pair(&deadlines).unwrap();
        down.watch(Some(up.mark()));
        drop((up, origin));
        let (a, b) = Stream::pair(&deadlines).unwrap();
        drop(client);
        while !down.peer_gone() {
            deadlines.sweep(crate::net::clock::mono());
            runtime::yield_now().await;
        }
        assert!(!a.cut() && !b.cut());
    });
}

#[test]
fn an_unwatched_client_may_leave() {
    runtime::on_each_driver(|| async {
        let deadlines = Deadlines::new();
        let (client, down) = Stream::pair(&deadlines).unwrap();
        let (up, _origin) = Stream::pair(&deadlines).unwrap();
        down.watch(Some(up.mark()));
        down.unwatch();
        drop(client);
        for _ in 0..10 {
            deadlines.sweep(crate::net::clock::mono());
        }
        assert!(!down.peer_gone() && !up.cut());
    });
}

/// Of the two ways to wait, that of one's own and the shard's set, either can follow the other.
#[test]
fn a_wait_apart_and_one_in_the_set_find_the_same() {
    runtime::on_each_driver(|| async {
        let deadlines = Deadlines::new();
        let (mut a, mut b) = Stream::pair(&deadlines).unwrap();
        for apart in [false, false, true, true, false, true, false] {
            let mut got = Vec::with_capacity(64);
            for there in [false, true] {
                // Either it comes during the wait, or it is there already; the wait before has found all.
                let wait = async {
                    match apart {
                        true => a.rx.readable_apart().await,
                        false => a.rx.readable().await,
                    }
                };
                let send = async {
                    runtime::yield_now().await;
                    assert_eq!(b.tx.try_send(b"x").unwrap(), Some(1));
                };
                let result = if there {
                    send.await;
                    wait.await
                } else {
                    join2(wait, send).await.0
                };
                result.unwrap();
                assert_eq!(a.rx.try_recv(&mut got).unwrap(), Some(1));
                assert_eq!(a.rx.try_recv(&mut got).unwrap(), None);
            }
        }
    });
}
