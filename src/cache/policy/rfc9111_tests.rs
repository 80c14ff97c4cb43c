//! The requirements of RFC 9111, section by section.

use super::*;

const NOW: i64 = 1_700_000_000;

fn date(offset: i64) -> String {
    String::from_utf8(crate::base::time::http_date(NOW + offset).to_vec()).unwrap()
}

fn fields(text: &str) -> Fields {
    let mut fields = Fields::new();
    for line in text.split('|').filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(": ").unwrap_or((line, ""));
        let value = match value.strip_prefix("NOW") {
            Some(offset) => date(offset.parse().unwrap_or(0)),
            None => value.to_owned(),
        };
        fields.push(name.as_bytes(), value.as_bytes());
    }
    fields
}

fn asks(control: &str) -> Request {
    Request::read(&fields(control))
}

fn asked() -> Asked {
    Asked {
        directives: Request::default(),
        authorized: false,
        sent: NOW,
    }
}

fn stored(status: u16, text: &str) -> Option<Facts> {
    let rules = (IgnoreHeaders::default(), 0);
    judge(status, &fields(text), &asked(), rules, NOW)
}

/// Seconds for which an answer is fresh from now; negative when it is stale from the beginning.
fn fresh(status: u16, text: &str) -> Option<i64> {
    stored(status, text).map(|facts| facts.valid_until + 1 - NOW)
}

#[test]
fn section_3_storing_responses() {
    for (status, text, may) in [
        (200, "Cache-Control: max-age=5", true),
        (200, "Cache-Control: s-maxage=5", true),
        (200, "Cache-Control: public|ETag: \"a\"", true),
        (200, "Expires: NOW10", true),
        (200, "Last-Modified: NOW-1000", true),
        (200, "ETag: \"a\"", true),
        // Nothing to go by, and nothing to validate with.
        (200, "", false),
        (302, "Last-Modified: NOW-1000", false),
        (302, "Cache-Control: max-age=5", true),
        (404, "Last-Modified: NOW-1000", true),
        (200, "Cache-Control: no-store, max-age=5", false),
        (200, "Cache-Control: private, max-age=5", false),
        (200, "Cache-Control: private=\"x\", max-age=5", false),
        (206, "Cache-Control: max-age=5", false),
        (304, "Cache-Control: max-age=5", false),
        (299, "Cache-Control: max-age=5", false),
        (200, "Cache-Control: max-age=5|Vary: *", false),
        (200, "Cache-Control: max-age=5|Set-Cookie: a", false),
    ] {
        assert_eq!(stored(status, text).is_some(), may, "{status} {text}");
    }
}

#[test]
fn section_3_5_requests_with_authorization() {
    for (control, may) in [
        ("max-age=5", false),
        ("max-age=5, public", true),
        ("max-age=5, must-revalidate", true),
        ("s-maxage=5", true),
    ] {
        let authorized = Asked {
            authorized: true,
            ..asked()
        };
        let head = fields(&format!("Cache-Control: {control}"));
        let rules = (IgnoreHeaders::default(), 0);
        let facts = judge(200, &head, &authorized, rules, NOW);
        assert_eq!(facts.is_some(), may, "{control}");
    }
}

#[test]
fn section_3_2_updating_stored_fields() {
    let mut kept =
        fields("ETag: \"a\"|Content-Length: 5|X-A: 1|X-A: 2|Content-Type: a/b|Date: NOW-9");
    let newer =
        fields("Content-Length: 0|x-a: 3|Date: NOW|X-New: n|Connection: close|Content-Type: c/d");
    update(&mut kept, &newer);
    let all: Vec<String> = kept
        .iter()
        .map(|f| {
            format!(
                "{}={}",
                String::from_utf8_lossy(f.name),
                String::from_utf8_lossy(f.value)
            )
        })
        .collect();
    let now = format!("Date={}", date(0));
    let want = [
        "ETag=\"a\"",
        "Content-Length=5",
        "Content-Type=a/b",
        "x-a=3",
        &now,
        "X-New=n",
    ];
    assert_eq!(all, want);
}

#[test]
fn section_4_2_1_lifetimes() {
    for (text, want) in [
        ("Cache-Control: max-age=50, s-maxage=5", 5),
        ("Cache-Control: max-age=50|Expires: NOW9", 50),
        ("Expires: NOW9|Date: NOW", 9),
        // Behind the origin's own clock.
        ("Expires: NOW1009|Date: NOW1000", 9),
        // The first of two, and nothing of what is no number.
        ("Cache-Control: max-age=7, max-age=9", 7),
        ("Cache-Control: max-age=x|ETag: \"a\"", 0),
        ("Expires: 0|ETag: \"a\"", 0),
        ("Expires: NOW9|CDN-Cache-Control: max-age=33", 33),
        ("Cache-Control: no-store|CDN-Cache-Control: max-age=33", 33),
    ] {
        assert_eq!(fresh(200, text), Some(want), "{text}");
    }
    assert_eq!(
        fresh(200, "Cache-Control: max-age=9|CDN-Cache-Control: no-store"),
        None
    );
}

#[test]
fn section_4_2_2_heuristics() {
    assert_eq!(fresh(200, "Last-Modified: NOW-1000|Date: NOW"), Some(100));
    assert_eq!(
        fresh(200, "Last-Modified: NOW-99999999|Date: NOW"),
        Some(GUESS_MAX)
    );
    // A lifetime that was told is not guessed.
    assert_eq!(
        fresh(200, "Last-Modified: NOW-1000|Expires: NOW-1"),
        Some(0)
    );
    assert_eq!(
        fresh(302, "Last-Modified: NOW-1000|Cache-Control: public"),
        Some(100)
    );
    // What the configuration says takes its place.
    let head = fields("Last-Modified: NOW-1000|Date: NOW");
    let facts = judge(200, &head, &asked(), (IgnoreHeaders::default(), 30), NOW).unwrap();
    assert_eq!(facts.valid_until + 1 - NOW, 30);
}

#[test]
fn section_4_2_3_ages() {
    for (text, sent, age) in [
        ("Cache-Control: max-age=50", 0, 0),
        ("Cache-Control: max-age=50|Age: 20", 0, 20),
        ("Cache-Control: max-age=50|Age: 20", -3, 23),
        ("Cache-Control: max-age=50|Date: NOW-30|Age: 20", 0, 30),
        ("Cache-Control: max-age=50|Date: NOW30", 0, 0),
        ("Cache-Control: max-age=50|Age: x", 0, 0),
        ("Cache-Control: max-age=50|Age: 7, 9", 0, 7),
    ] {
        let asked = Asked {
            sent: NOW + sent,
            ..asked()
        };
        let rules = (IgnoreHeaders::default(), 0);
        let facts = judge(200, &fields(text), &asked, rules, NOW).unwrap();
        assert_eq!(facts.age, age, "{text}");
        assert_eq!(facts.valid_until + 1 - NOW, 50 - i64::from(age), "{text}");
        assert_eq!(super::age(&facts, NOW + 4), i64::from(age) + 4);
    }
}

#[test]
fn section_4_2_4_serving_stale_responses() {
    for (control, flags, if_error) in [
        ("max-age=1, stale-if-error=9", 0, 9),
        (
            "max-age=1, stale-if-error=9, must-revalidate",
            NEVER_STALE,
            0,
        ),
        (
            "max-age=1, stale-if-error=9, proxy-revalidate",
            NEVER_STALE,
            0,
        ),
        ("s-maxage=1, stale-if-error=9", NEVER_STALE, 0),
    ] {
        let facts = stored(200, &format!("Cache-Control: {control}")).unwrap();
        assert_eq!(
            (facts.flags, facts.if_error),
            (flags, if_error),
            "{control}"
        );
    }
}

#[test]
fn section_5_2_1_request_directives() {
    let plain = stored(200, "Cache-Control: max-age=10").unwrap();
    let strict = stored(200, "Cache-Control: max-age=10, must-revalidate").unwrap();
    let cases: &[(&Facts, &str, i64, Admits)] = &[
        (&plain, "", 9, Admits::Yes),
        (&plain, "", 10, Admits::Validated),
        (&plain, "no-cache", 0, Admits::Validated),
        (&plain, "max-age=5", 5, Admits::Yes),
        (&plain, "max-age=5", 6, Admits::Validated),
        (&plain, "max-age=0", 1, Admits::Validated),
        (&plain, "min-fresh=5", 5, Admits::Yes),
        (&plain, "min-fresh=5", 6, Admits::Validated),
        (&plain, "max-stale", 1000, Admits::Yes),
        (&plain, "max-stale=5", 15, Admits::Yes),
        (&plain, "max-stale=5", 16, Admits::Validated),
        (&strict, "max-stale", 11, Admits::Validated),
    ];
    for &(facts, control, later, want) in cases {
        let asks = asks(&format!("Cache-Control: {control}"));
        assert_eq!(admits(facts, &asks, NOW + later), want, "{control} {later}");
    }
    let no_store = Asked {
        directives: asks("Cache-Control: no-store"),
        ..asked()
    };
    let head = fields("Cache-Control: max-age=10");
    assert!(judge(200, &head, &no_store, (IgnoreHeaders::default(), 0), NOW).is_none());
}

#[test]
fn section_5_2_2_response_directives() {
    let always = stored(200, "Cache-Control: no-cache, max-age=10|ETag: \"a\"").unwrap();
    assert_eq!(admits(&always, &Request::default(), NOW), Admits::Validated);
    assert_eq!(
        admits(&always, &asks("Cache-Control: max-stale"), NOW),
        Admits::Validated
    );
    // must-understand: who knows the status goes by the rest.
    let understood = "Cache-Control: must-understand, no-store, max-age=10";
    assert!(stored(200, understood).is_some());
    assert!(stored(299, understood).is_none());
}
