//! PEM: the sections of a text between their BEGIN and END lines. Text in, bytes out; what a section holds is for
//! others to know. Start at [`sections`].

use super::der::element;
use crate::base::base64;

/// One section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// What stands behind BEGIN.
    pub label: String,
    /// `Name: value` lines before the contents, as encrypted keys of old have them.
    pub headers: Vec<(String, String)>,
    /// The contents.
    pub der: Vec<u8>,
}

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

/// All sections of a text in order. What stands between them is left out; none where one of them is broken.
pub fn sections(text: &[u8]) -> Option<Vec<Section>> {
    let text = String::from_utf8_lossy(text);
    let mut lines = text.lines().map(str::trim_end);
    let mut all = Vec::new();
    while let Some(line) = lines.next() {
        let Some(label) = line.strip_prefix(BEGIN) else {
            continue;
        };
        let label = label.strip_suffix(DASHES)?.to_owned();
        let mut headers: Vec<(String, String)> = Vec::new();
        let mut body = String::new();
        loop {
            let line = lines.next()?;
            if let Some(end) = line.strip_prefix(END) {
                if end.strip_suffix(DASHES)? != label {
                    return None;
                }
                break;
            }
            match line.split_once(':') {
                Some((name, value)) => headers.push((name.into(), value.trim().into())),
                None => body.push_str(line.trim()),
            }
        }
        let mut der = Vec::new();
        base64::decode(body.as_bytes(), &mut der)?;
        all.push(Section {
            label,
            headers,
            der,
        });
    }
    Some(all)
}

/// The certificates of a text in DER; none where it is broken.
pub fn certificates(text: &[u8]) -> Option<Vec<Vec<u8>>> {
    let all = sections(text)?.into_iter();
    let certificates = all.filter(|section| {
        matches!(
            &section.label[..],
            "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE"
        )
    });
    let whole = |mut section: Section| {
        if section.label == "TRUSTED CERTIFICATE" {
            // Behind the certificate stands what OpenSSL would trust it for.
            if let Some((_, _, certificate, _)) = element(&section.der) {
                section.der.truncate(certificate.len());
            }
        }
        section.der
    };
    Some(certificates.map(whole).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_found_between_other_text() {
        let text = b"Bag Attributes\n  x: y\n-----BEGIN CERTIFICATE-----\nAQID\nBAUG\n-----END CERTIFICATE-----\n\
                     -----BEGIN RSA PRIVATE KEY-----\r\nProc-Type: 4,ENCRYPTED\r\n\r\nAQID\r\n-----END RSA PRIVATE KEY-----";
        let all = sections(text).expect("whole");
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].der, [1, 2, 3, 4, 5, 6]);
        assert_eq!(
            all[1].headers,
            [("Proc-Type".to_owned(), "4,ENCRYPTED".to_owned())]
        );
        assert_eq!(certificates(text).map(|all| all.len()), Some(1));
    }

    #[test]
    fn what_is_broken_is_none() {
        for text in [
            "-----BEGIN A-----\nAQID\n-----END B-----",
            "-----BEGIN A-----\nAQID\n",
            "-----BEGIN A-----\nA$ID\n-----END A-----",
            "-----BEGIN A",
        ] {
            assert_eq!(sections(text.as_bytes()), None, "{text}");
        }
        assert_eq!(sections(b""), Some(Vec::new()));
    }
}
