//! Rows of the realip family: whose word is taken for the client's address.

use std::sync::Arc;

use crate::config::model::*;
use crate::config::table::ctx::*;
use crate::config::table::{Args, args, family};
use crate::config::value::*;

family! {
    /// Settings of the realip family.
    pub struct Realip in realip {
        list set_real_ip_from: TrustedPeer = "", trusted_peer, HSL.or(TTS), args(1), "Peers whose word for the client's address is taken.";
        value real_ip_header: RealIpHeader = "X-Real-IP", real_ip_header, HSL, args(1), "Field in which a trusted peer names the client, or proxy_protocol.";
        value real_ip_recursive: bool = "off", flag, HSL, args(1), "Goes back through a list of addresses until one is not trusted.";
    } also {
    }
}

/// One `set_real_ip_from`.
#[derive(Clone, Debug, PartialEq)]
pub enum TrustedPeer {
    /// `unix:`: clients of unix sockets.
    Unix,
    /// An address or a network.
    Range(Cidr),
    /// A host name; its addresses are asked for when the configuration is loaded.
    Name(Text),
}

/// `real_ip_header`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RealIpHeader {
    /// `X-Forwarded-For`, all its lines.
    ForwardedFor,
    /// `proxy_protocol`.
    ProxyProtocol,
    /// The first line of another field.
    Field(Arc<[u8]>),
}

fn trusted_peer(args: &mut Args<'_>) -> Parsed<TrustedPeer> {
    let word = args.word(0);
    if *word.bytes == *b"unix:" {
        return Ok(TrustedPeer::Unix);
    }
    let Some((range, clean)) = Cidr::parse(&word.bytes) else {
        return Ok(TrustedPeer::Name(text_of(word)));
    };
    if !clean {
        let text = format!("low address bits of {} are meaningless", word.lossy());
        args.warnings.push(text);
    }
    Ok(TrustedPeer::Range(range))
}

fn real_ip_header(args: &mut Args<'_>) -> Parsed<RealIpHeader> {
    Ok(match args.bytes(0) {
        b"X-Forwarded-For" => RealIpHeader::ForwardedFor,
        b"proxy_protocol" => RealIpHeader::ProxyProtocol,
        name => RealIpHeader::Field(Arc::from(name)),
    })
}
