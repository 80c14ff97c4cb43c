//! Names that are resolved while serving: `resolver` with targets that hold variables.

use crate::support::dns::{Dns, Entry};
use crate::support::{Config, Origin, Proxy};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

const LOCAL: Ipv4Addr = Ipv4Addr::LOCALHOST;

fn proxy(dns: &Dns, origin: &Origin, options: &str) -> Config {
    Config::server(&format!(
        "resolver %%dns%% ipv6=off {options}; resolver_timeout 2s;
         location / {{ set $name $arg_name; proxy_pass http://$name:%%port%%; }}"
    ))
    .set("dns", dns.addr())
    .set("port", origin.addr().port())
}

#[track_caller]
fn status(proxy: &Proxy, name: &str) -> u16 {
    proxy.get(&format!("/?name={name}")).status()
}

#[test]
fn names_are_resolved_and_kept_for_their_time() {
    let dns = Dns::start(&[
        ("a.test", Entry::A(vec![LOCAL], 300)),
        ("c.test", Entry::Cname("a.test")),
    ]);
    let origin = Origin::text("x");
    let proxy = proxy(&dns, &origin, "").start();
    for _ in 0..3 {
        assert_eq!(status(&proxy, "a.test"), 200);
    }
    assert_eq!(dns.asked("a.test"), 1, "the answer is kept");
    assert_eq!(
        origin.last().field("host"),
        Some(format!("a.test:{}", origin.addr().port()).as_str())
    );
    assert_eq!(status(&proxy, "c.test"), 200);
}

#[test]
fn a_short_time_is_asked_again() {
    let dns = Dns::start(&[("a.test", Entry::A(vec![LOCAL], 300))]);
    let origin = Origin::text("x");
    let proxy = proxy(&dns, &origin, "valid=1s").start();
    assert_eq!(status(&proxy, "a.test"), 200);
    crate::support::wait::until("a second question", || {
        assert_eq!(status(&proxy, "a.test"), 200);
        dns.asked("a.test") >= 2
    });
}

#[test]
fn a_name_that_does_not_exist_is_a_502() {
    let dns = Dns::start(&[]);
    let origin = Origin::text("x");
    let proxy = proxy(&dns, &origin, "")
        .logs("nowhere.test could not be resolved (3: Host not found)")
        .start();
    assert_eq!(status(&proxy, "nowhere.test"), 502);
}

#[test]
fn a_silent_server_is_a_502_in_time() {
    let dns = Dns::start(&[("mute.test", Entry::Silence)]);
    let origin = Origin::text("x");
    let proxy = proxy(&dns, &origin, "")
        .logs("mute.test could not be resolved (110: Operation timed out)")
        .start();
    let from = Instant::now();
    assert_eq!(status(&proxy, "mute.test"), 502);
    assert!(from.elapsed() < Duration::from_secs(4));
}

#[test]
fn all_addresses_are_tried() {
    let dns = Dns::start(&[(
        "two.test",
        Entry::A(vec![Ipv4Addr::new(127, 0, 0, 2), LOCAL], 300),
    )]);
    let origin = Origin::text("x");
    let proxy = proxy(&dns, &origin, "")
        .may_log("connect() failed (111: Connection refused)")
        .start();
    for _ in 0..4 {
        assert_eq!(status(&proxy, "two.test"), 200);
    }
}

#[test]
fn without_a_resolver_a_name_is_a_502_and_an_address_works() {
    let origin = Origin::text("x");
    let proxy =
        Config::server("location / { set $name $arg_name; proxy_pass http://$name:%%port%%; }")
            .set("port", origin.addr().port())
            .logs("no resolver defined to resolve a.test")
            .start();
    assert_eq!(status(&proxy, "a.test"), 502);
    assert_eq!(status(&proxy, "127.0.0.1"), 200);
}

#[test]
fn a_group_is_found_before_any_name() {
    let origin = Origin::text("x");
    let proxy = Config::http(
        "upstream app { server %%o%%; }
         server { listen %%ADDR_0%%; location / { set $name $arg_name; proxy_pass http://$name; } }",
    )
    .set("o", origin.addr())
    .start();
    assert_eq!(status(&proxy, "app"), 200);
}
