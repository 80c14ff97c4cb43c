//! End-to-end tests: real configurations, real sockets, assertions on the bytes at the client and at the origin.
//! One file for each family of directives.

mod access;
mod autoindex;
mod body;
mod body_filters;
mod buffering;
mod cli;
mod compression;
mod connection;
mod control;
mod errors;
mod fastcgi;
mod files;
mod framing;
mod guides;
mod headers;
mod http2;
mod limits;
mod log;
mod open_files;
mod peer;
mod php;
mod process;
mod promises;
mod proxy_pass;
mod ranges;
mod realip;
mod resolver;
mod rest;
mod rewrite;
mod server;
mod subrequests;
mod toml;
mod traversal;
mod tunnel;
mod upstream;
