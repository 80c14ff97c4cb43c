//! Why a handshake or a connection failed, in the words that logs are searched for. Start at [`Trouble`].

use std::fmt;
use std::io;

use rustls::{AlertDescription, Error, InvalidMessage, PeerIncompatible, PeerMisbehaved};

use super::hello::Fault;

/// Why there is no TLS on a connection, or no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The first bytes are no TLS: plain HTTP, as a rule. They are handed back.
    NotTls,
    /// Not in time.
    TimedOut,
    /// The peer closed the connection in the middle.
    Closed,
    /// The socket failed.
    Failed(io::ErrorKind, Option<i32>),
    /// The peers do not agree, or one breaks a rule.
    Protocol(Reason),
}

/// What OpenSSL would say: the number of its reason, and whether the peer is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason {
    /// The reason's number in OpenSSL's list.
    pub code: u16,
    /// The reason's words.
    pub text: &'static str,
    /// Clients do this every day: the line belongs at the level `info`.
    pub usual: bool,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = 0x0A00_0000 | u32::from(self.code);
        write!(f, "SSL: error:{code:08X}:SSL routines::{}", self.text)
    }
}

const fn usual(code: u16, text: &'static str) -> Reason {
    Reason {
        code,
        text,
        usual: true,
    }
}

const fn odd(code: u16, text: &'static str) -> Reason {
    Reason {
        code,
        text,
        usual: false,
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::TimedOut => Self::TimedOut,
            kind => Self::Failed(kind, error.raw_os_error()),
        }
    }
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Self {
        Self::Protocol(match fault {
            Fault::Unexpected => usual(244, "unexpected message"),
            Fault::Decode => usual(159, "length mismatch"),
            Fault::TooLong => usual(152, "excessive message size"),
            Fault::Version => usual(267, "wrong version number"),
            Fault::Name => usual(110, "bad extension"),
        })
    }
}

impl From<&Error> for Trouble {
    fn from(error: &Error) -> Self {
        Self::Protocol(reason(error))
    }
}

/// OpenSSL's words for what rustls found.
fn reason(error: &Error) -> Reason {
    match error {
        Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
            usual(244, "unexpected message")
        }
        Error::InvalidMessage(invalid) => match invalid {
            InvalidMessage::UnknownProtocolVersion => usual(267, "wrong version number"),
            InvalidMessage::MessageTooLarge => usual(198, "packet length too long"),
            InvalidMessage::HandshakePayloadTooLarge => usual(152, "excessive message size"),
            InvalidMessage::InvalidContentType => usual(244, "unexpected message"),
            _ => usual(159, "length mismatch"),
        },
        Error::PeerSentOversizedRecord => usual(146, "data length too long"),
        Error::DecryptError => usual(281, "decryption failed or bad record mac"),
        Error::AlertReceived(alert) => received(*alert),
        Error::NoApplicationProtocol => usual(235, "no application protocol"),
        Error::NoCertificatesPresented => usual(199, "peer did not return a certificate"),
        Error::InvalidCertificate(_) | Error::InvalidCertRevocationList(_) => {
            odd(134, "certificate verify failed")
        }
        Error::UnsupportedNameType => usual(110, "bad extension"),
        Error::PeerIncompatible(kind) => incompatible(kind),
        Error::PeerMisbehaved(kind) => misbehaved(kind),
        _ => odd(68, "internal error"),
    }
}

fn incompatible(kind: &PeerIncompatible) -> Reason {
    match kind {
        PeerIncompatible::Tls12NotOffered
        | PeerIncompatible::Tls12NotOfferedOrEnabled
        | PeerIncompatible::Tls13RequiredForQuic
        | PeerIncompatible::SupportedVersionsExtensionRequired => {
            usual(258, "unsupported protocol")
        }
        PeerIncompatible::NoCipherSuitesInCommon => usual(193, "no shared cipher"),
        PeerIncompatible::NoKxGroupsInCommon
        | PeerIncompatible::NamedGroupsExtensionRequired
        | PeerIncompatible::NoEcPointFormatsInCommon => usual(101, "no suitable key share"),
        PeerIncompatible::NoSignatureSchemesInCommon
        | PeerIncompatible::SignatureAlgorithmsExtensionRequired
        | PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon => {
            usual(118, "no suitable signature algorithm")
        }
        PeerIncompatible::KeyShareExtensionRequired => usual(108, "bad key share"),
        PeerIncompatible::ExtendedMasterSecretExtensionRequired => usual(104, "inconsistent extms"),
        _ => usual(110, "bad extension"),
    }
}

fn misbehaved(kind: &PeerMisbehaved) -> Reason {
    match kind {
        PeerMisbehaved::AttemptedDowngradeToTls12WhenTls13IsSupported => {
            usual(373, "inappropriate fallback")
        }
        PeerMisbehaved::InvalidKeyShare => usual(108, "bad key share"),
        PeerMisbehaved::TooManyEmptyFragments => usual(298, "record too small"),
        PeerMisbehaved::TooManyRenegotiationRequests => usual(339, "no renegotiation"),
        PeerMisbehaved::TooManyWarningAlertsReceived => usual(409, "too many warn alerts"),
        PeerMisbehaved::TooManyKeyUpdateRequests => usual(132, "too many key updates"),
        PeerMisbehaved::TooMuchEarlyDataReceived => usual(164, "too much early data"),
        PeerMisbehaved::MessageInterleavedWithHandshakeMessage
        | PeerMisbehaved::KeyEpochWithPendingFragment
        | PeerMisbehaved::IllegalMiddleboxChangeCipherSpec
        | PeerMisbehaved::UnsolicitedCertExtension => usual(244, "unexpected message"),
        _ => usual(110, "bad extension"),
    }
}

/// The alerts that have a line of their own, by number: OpenSSL counts them from 1000.
const ALERTS: &[(u8, &str)] = &[
    (0, "sslv3 alert close notify"),
    (10, "sslv3 alert unexpected message"),
    (20, "sslv3 alert bad record mac"),
    (21, "tlsv1 alert decryption failed"),
    (22, "tlsv1 alert record overflow"),
    (30, "sslv3 alert decompression failure"),
    (40, "sslv3 alert handshake failure"),
    (41, "sslv3 alert no certificate"),
    (42, "sslv3 alert bad certificate"),
    (43, "sslv3 alert unsupported certificate"),
    (44, "sslv3 alert certificate revoked"),
    (45, "sslv3 alert certificate expired"),
    (46, "sslv3 alert certificate unknown"),
    (47, "sslv3 alert illegal parameter"),
    (48, "tlsv1 alert unknown ca"),
    (49, "tlsv1 alert access denied"),
    (50, "tlsv1 alert decode error"),
    (51, "tlsv1 alert decrypt error"),
    (60, "tlsv1 alert export restriction"),
    (70, "tlsv1 alert protocol version"),
    (71, "tlsv1 alert insufficient security"),
    (80, "tlsv1 alert internal error"),
    (86, "tlsv1 alert inappropriate fallback"),
    (90, "tlsv1 alert user cancelled"),
    (100, "tlsv1 alert no renegotiation"),
    (109, "tlsv13 alert missing extension"),
    (110, "tlsv1 unsupported extension"),
    (111, "tlsv1 certificate unobtainable"),
    (112, "tlsv1 unrecognized name"),
    (113, "tlsv1 bad certificate status response"),
    (114, "tlsv1 bad certificate hash value"),
    (115, "tlsv1 alert unknown psk identity"),
    (116, "tlsv13 alert certificate required"),
    (120, "tlsv1 alert no application protocol"),
];

fn received(alert: AlertDescription) -> Reason {
    let number = u8::from(alert);
    let known = ALERTS.iter().find(|(n, _)| *n == number);
    known.map_or(usual(1000, "unknown alert type"), |&(n, text)| {
        usual(1000 + u16::from(n), text)
    })
}
