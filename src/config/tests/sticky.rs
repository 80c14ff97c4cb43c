//! What is said about sessions that stay with a peer and about health checks.

use super::errors::check;

/// Inside an `upstream` block.
const STICKY: &[(&str, &str)] = &[
    (
        "sticky cookie c expires=1h domain=.$host path=/ httponly secure samesite=$arg_x;",
        "",
    ),
    ("sticky route $cookie_a $arg_b;", ""),
    (
        "sticky learn create=$arg_a lookup=$arg_b lookup=$arg_c zone=s:1m timeout=1h header;",
        "",
    ),
    (
        "sticky cookie a; sticky cookie b;",
        "[emerg] \"sticky\" directive is duplicate @",
    ),
    (
        "sticky cookie \"\";",
        "[emerg] \"sticky\" directive empty cookie name @",
    ),
    (
        "sticky cookie a=b;",
        "[emerg] \"sticky\" directive invalid cookie name @",
    ),
    (
        "sticky cookie a domain=;",
        "[emerg] \"sticky\" directive no value for \"domain\" @",
    ),
    (
        "sticky cookie a path=/ path=/;",
        "[emerg] \"sticky\" directive parameter \"path\" is duplicate @",
    ),
    (
        "sticky cookie a expires=x;",
        "[emerg] \"sticky\" directive invalid \"expires\" parameter value @",
    ),
    (
        "sticky cookie a samesite=x;",
        "[emerg] \"sticky\" directive invalid \"samesite\" parameter value @",
    ),
    ("sticky cookie a b;", "[emerg] unknown parameter \"b\" @"),
    ("sticky route a;", "[emerg] invalid variable name \"a\" @"),
    ("sticky any $a;", "[emerg] unknown parameter \"any\" @"),
    (
        "sticky learn create=$arg_a zone=s:1m;",
        "[emerg] \"sticky\" directive \"lookup\" parameter is not specified @",
    ),
    (
        "sticky learn lookup=$arg_a zone=s:1m;",
        "[emerg] \"sticky\" directive \"create\" parameter is not specified @",
    ),
    (
        "sticky learn create=$arg_a lookup=$arg_a;",
        "[emerg] \"sticky\" directive \"zone\" parameter is not specified @",
    ),
    (
        "sticky learn create=a lookup=$arg_a zone=s:1m;",
        "[emerg] \"sticky\" directive missing variable in the \"create\" parameter @",
    ),
    (
        "sticky learn create=$a lookup=$a zone=s;",
        "[emerg] \"sticky\" directive zone size is not specified @",
    ),
    (
        "sticky learn create=$a lookup=$a zone=s:8k;",
        "[emerg] \"sticky\" directive zone is too small @",
    ),
    (
        "sticky learn create=$a lookup=$a zone=s:1m timeout=0;",
        "[emerg] \"sticky\" directive invalid timeout @",
    ),
    (
        "sticky learn create=$a lookup=$a zone=s:1m sync;",
        "[emerg] the \"sync\" parameter of \"sticky\" is not supported: sessions are shared by all shards of one process, \
         not between machines @",
    ),
    ("server 127.0.0.2 route=;", "[emerg] route is empty @"),
    (
        "server 127.0.0.2 route=123456789012345678901234567890123;",
        "[emerg] route is longer than 32 @",
    ),
    (
        "sticky learn create=$arg_a lookup=$arg_a zone=s:1m; } upstream u2 { server 127.0.0.1; sticky learn create=$arg_a lookup=$arg_a zone=s:1m;",
        "[emerg] sticky zone \"s\" is already used in upstream \"u\" @",
    ),
    (
        "} match m { status 200; status 300;",
        "[emerg] \"status\" directive is duplicate @",
    ),
    (
        "} match m { status 99;",
        "[emerg] invalid status code \"99\" @",
    ),
    (
        "} match m { header a ~~ b;",
        "[emerg] invalid number of arguments in \"header\" directive @",
    ),
    ("} match m { body = x;", "[emerg] invalid operator \"=\" @"),
    (
        "} match m { require a;",
        "[emerg] invalid variable name \"a\" @",
    ),
    (
        "} match m { other x;",
        "[emerg] unknown directive \"other\" in \"match\" block @",
    ),
    ("} match m { } match m {", "[emerg] duplicate match \"m\" @"),
    (
        "} server { location / { proxy_pass http://u; health_check interval=0; }",
        "[emerg] invalid parameter \"interval=0\" @",
    ),
    (
        "} server { location / { proxy_pass http://u; health_check fails=0; }",
        "[emerg] invalid parameter \"fails=0\" @",
    ),
    (
        "} server { location / { proxy_pass http://u; health_check uri=x; }",
        "[emerg] invalid parameter \"uri=x\" @",
    ),
    (
        "} server { location / { grpc_pass grpc://u; health_check type=grpc uri=/x; }",
        "[emerg] \"type=grpc\" goes with neither \"uri\" nor \"match\" @",
    ),
    (
        "} server { location / { grpc_pass grpc://u; health_check grpc_status=1; }",
        "[emerg] parameter \"grpc_status=1\" needs \"type=grpc\" @",
    ),
];

#[test]
fn sticky_and_health() {
    check(
        "events {}\nhttp { upstream u { server 127.0.0.1;",
        "} }",
        STICKY,
    );
}
