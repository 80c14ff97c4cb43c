//! Which hosts a name of a certificate is for.

use super::*;

#[test]
fn a_star_stands_for_one_label() {
    for (name, host, want) in [
        ("example.com", "EXAMPLE.com", true),
        ("example.com", "example.com.", true),
        ("*.example.com", "a.example.com", true),
        ("*.example.com", "a.b.example.com", false),
        ("*.example.com", ".example.com", false),
        ("*.example.com", "example.com", false),
        ("*.com", "example.com", false),
        ("a*.example.com", "ab.example.com", false),
    ] {
        assert_eq!(
            host_matches(name.as_bytes(), host.as_bytes()),
            want,
            "{name} {host}"
        );
    }
}
