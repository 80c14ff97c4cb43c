//! The same proxy before an origin that nobody here wrote: both must read each message alike.

use crate::support::peer::Peer;
use crate::support::{Config, Proxy};

fn before(peer: &Peer, streamed: bool) -> Proxy {
    let buffering = if streamed { "off" } else { "on" };
    Config::http(
        "upstream app { server %%peer%%; keepalive 4; }
         server { listen %%ADDR_0%%; client_max_body_size 8m;
            location / { proxy_pass http://app; proxy_request_buffering %%b%%; proxy_buffering %%b%%; proxy_set_header Host $host; } }",
    )
    .set("peer", peer.addr())
    .set("b", buffering)
    .start()
}

#[test]
fn requests_of_every_framing_are_understood() {
    let peer = Peer::start();
    for streamed in [false, true] {
        let proxy = before(&peer, streamed);
        let mut client = proxy.client();
        for (request, expected) in [
            (
                "GET /a?b=c HTTP/1.1\r\nHost: h.example\r\n\r\n",
                "GET /a?b=c h.example\n",
            ),
            (
                "POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody",
                "POST /p h\nbody",
            ),
            (
                "PUT /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: 1\r\n\r\n",
                "PUT /c h\nabcde",
            ),
            ("DELETE /d HTTP/1.1\r\nHost: h\r\n\r\n", "DELETE /d h\n"),
        ] {
            let response = client.send(request).response();
            assert_eq!(
                (response.status(), response.text()),
                (200, expected),
                "streamed {streamed}"
            );
            assert_eq!(response.field("x-peer"), Some("1"));
        }
    }
}

#[test]
fn large_bodies_go_there_and_back() {
    let peer = Peer::start();
    for streamed in [false, true] {
        let proxy = before(&peer, streamed);
        let body = (0..2_000_000u32)
            .map(|i| u8::try_from(i % 199).unwrap())
            .collect::<Vec<_>>();
        let mut client = proxy.client();
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n",
            body.len()
        ));
        client.send(&body);
        let response = client.response();
        assert_eq!(response.status(), 200);
        assert!(
            response.body.ends_with(&body)
                && response.body.len() == body.len() + "POST / h\n".len()
        );
    }
}
