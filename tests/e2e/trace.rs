//! W3C trace context: what a backend is told of a trace, by what the client says and what is configured.

use crate::support::{Config, Origin, Proxy};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

fn site(origin: &Origin) -> Proxy {
    Config::http(
        "log_format trace '$trace_id $span_id $parent_id $trace_sampled';
         upstream app { server %%O%%; keepalive 4; }
         server { listen %%ADDR_0%%; access_log %%DIR%%/trace.log trace;
            location /off { proxy_pass http://app; }
            location /pass { trace_context pass; proxy_pass http://app; }
            location /start { trace_context start; proxy_pass http://app; }
            location /on { trace_context on; proxy_pass http://app;
                location /on/own { proxy_set_header traceparent mine; proxy_pass http://app; } }
            location /none { trace_context on; error_log %%DIR%%/errors.json error format=json;
                proxy_set_header X-Trace $trace_id; proxy_pass http://%%ADDR_1%%; } }",
    )
    .set("O", origin.addr())
    .start()
}

/// What the backend got of a trace: `traceparent` and `tracestate`.
fn seen(
    proxy: &Proxy,
    origin: &Origin,
    target: &str,
    fields: &str,
) -> (Option<String>, Option<String>) {
    assert_eq!(
        proxy
            .client()
            .request("GET", target, fields)
            .response()
            .status(),
        200
    );
    let request = origin.last();
    let field = |name| request.field(name).map(str::to_owned);
    (field("traceparent"), field("tracestate"))
}

#[test]
fn traces_go_on_or_begin() {
    let origin = Origin::text("answer");
    let proxy = site(&origin);
    let good =
        format!("traceparent: 00-{TRACE}-{SPAN}-01\r\ntracestate: a=1\r\nTraceState: b=2\r\n");
    let shape = regex::Regex::new("^00-([0-9a-f]{32})-([0-9a-f]{16})-0([01])$").unwrap();
    let parts = |text: &Option<String>| {
        let text = text.as_deref().unwrap();
        let found = shape.captures(text).unwrap_or_else(|| panic!("{text}"));
        [1, 2, 3].map(|n| found[n].to_owned())
    };
    for target in ["/pass", "/on"] {
        let (parent, state) = seen(&proxy, &origin, target, &good);
        let [trace, span, flags] = parts(&parent);
        assert_eq!((&trace[..], &flags[..]), (TRACE, "1"), "{target}");
        assert_ne!(span, SPAN, "the backend is called by a span of its own");
        assert_eq!(state.as_deref(), Some("a=1,b=2"), "{target}");
    }
    let (parent, state) = seen(&proxy, &origin, "/start", &good);
    let [trace, _, flags] = parts(&parent);
    assert_ne!(trace, TRACE);
    assert_eq!((&flags[..], state), ("1", None));
    for bad in [
        String::new(),
        format!("traceparent: 00-{TRACE}-{SPAN}\r\ntracestate: a=1\r\n"),
        format!("traceparent: ff-{TRACE}-{SPAN}-01\r\n"),
        format!("traceparent: 00-{TRACE}-{SPAN}-01\r\ntraceparent: 00-{TRACE}-{SPAN}-01\r\n"),
        format!("traceparent: 00-{}-{SPAN}-01\r\n", "0".repeat(32)),
    ] {
        assert_eq!(seen(&proxy, &origin, "/pass", &bad), (None, None), "{bad}");
        let (parent, state) = seen(&proxy, &origin, "/on", &bad);
        assert_ne!(parts(&parent)[0], TRACE, "{bad}");
        assert_eq!(state, None, "{bad}");
    }
    // A state that breaks the rules does not end the trace.
    let odd = format!("traceparent: 00-{TRACE}-{SPAN}-00\r\ntracestate: A B\r\n");
    let (parent, state) = seen(&proxy, &origin, "/on", &odd);
    assert_eq!(parts(&parent)[0], TRACE);
    assert_eq!((&parts(&parent)[2][..], state), ("0", None));
    // What is off, or set by hand, is left alone.
    let (parent, _) = seen(&proxy, &origin, "/off", "traceparent: whatever\r\n");
    assert_eq!(parent.as_deref(), Some("whatever"));
    let (parent, _) = seen(&proxy, &origin, "/on/own", &good);
    assert_eq!(parent.as_deref(), Some("mine"));
}

#[test]
fn logs_know_the_trace() {
    let origin = Origin::text("answer");
    let proxy = site(&origin);
    let good = format!("traceparent: 00-{TRACE}-{SPAN}-01\r\n");
    let (parent, _) = seen(&proxy, &origin, "/on", &good);
    let parent = parent.unwrap();
    let own = parent.split('-').nth(2).unwrap().to_owned();
    proxy.wait_log("trace.log", &format!("{TRACE} {own} {SPAN} 1\n"));
    seen(&proxy, &origin, "/off", "");
    proxy.wait_log("trace.log", "- - - -\n");
    let got = proxy.client().request("GET", "/none", &good).response();
    assert_eq!(got.status(), 502);
    proxy.wait_log("errors.json", &format!("\"trace_id\":\"{TRACE}\"}}\n"));
}
