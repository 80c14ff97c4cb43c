//! The little of DER that signatures need: the parts of a signed object, checked with the algorithms of the TLS library.
//! Bytes in, values out. Start at [`Signed::read`].

use rustls::pki_types::SignatureVerificationAlgorithm;

const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;

/// A certificate, a list of revoked ones, or an OCSP answer: what is signed, how, and the signature.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signed<'a> {
    /// What is signed, with its header.
    pub(super) body: &'a [u8],
    /// The contents of the algorithm's identifier.
    pub(super) algorithm: &'a [u8],
    /// The signature.
    pub(super) signature: &'a [u8],
}

/// An element: its tag, its contents, all of it, and what follows.
type Element<'a> = (u8, &'a [u8], &'a [u8], &'a [u8]);

/// The next element.
pub(super) fn element(input: &[u8]) -> Option<Element<'_>> {
    let (&tag, rest) = input.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let len = match first {
        0..=0x7f => usize::from(first),
        0x81..=0x84 => {
            let (bytes, after) = rest.split_at_checked(usize::from(first & 0x7f))?;
            rest = after;
            bytes.iter().fold(0, |n, &b| n << 8 | usize::from(b))
        }
        _ => return None,
    };
    let (contents, rest) = rest.split_at_checked(len)?;
    Some((tag, contents, &input[..input.len() - rest.len()], rest))
}

/// The contents of the next element, which has this tag, and what follows.
pub(super) fn expect(input: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, contents, _, rest) = element(input)?;
    (found == tag).then_some((contents, rest))
}

/// A bit string's bytes; one whose bits do not fill bytes is none.
fn bits(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let (contents, rest) = expect(input, BIT_STRING)?;
    let (&unused, bytes) = contents.split_first()?;
    (unused == 0).then_some((bytes, rest))
}

impl<'a> Signed<'a> {
    /// Takes a signed object apart.
    pub(super) fn read(der: &'a [u8]) -> Option<Self> {
        let (inside, _) = expect(der, SEQUENCE)?;
        let (_, _, body, rest) = element(inside)?;
        let (algorithm, rest) = expect(rest, SEQUENCE)?;
        let (signature, _) = bits(rest)?;
        Some(Self {
            body,
            algorithm,
            signature,
        })
    }

    /// Whether the key of this SubjectPublicKeyInfo signed it.
    pub(super) fn by(&self, spki: &[u8]) -> bool {
        let Some((kind, key)) = key_of(spki) else {
            return false;
        };
        let known = algorithms().iter().find(|algorithm| {
            algorithm.signature_alg_id().as_ref() == self.algorithm
                && algorithm.public_key_alg_id().as_ref() == kind
        });
        known.is_some_and(|algorithm| {
            algorithm
                .verify_signature(key, self.body, self.signature)
                .is_ok()
        })
    }
}

/// The algorithms that signatures may have; SHA-1 and keys that are too short are not among them.
fn algorithms() -> &'static [&'static dyn SignatureVerificationAlgorithm] {
    super::verify::schemes().all
}

/// The contents of the algorithm's identifier and the key of a SubjectPublicKeyInfo.
pub(super) fn key_of(spki: &[u8]) -> Option<(&[u8], &[u8])> {
    let (inside, _) = expect(spki, SEQUENCE)?;
    let (kind, rest) = expect(inside, SEQUENCE)?;
    let (key, _) = bits(rest)?;
    Some((kind, key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_cut_at_their_length() {
        assert_eq!(
            element(&[4, 2, 1, 2, 9]),
            Some((4, &[1, 2][..], &[4, 2, 1, 2][..], &[9][..]))
        );
        let mut long = vec![4, 0x82, 1, 0];
        long.resize(4 + 256, 7);
        assert_eq!(element(&long).map(|(_, c, _, _)| c.len()), Some(256));
        for bad in [
            &[][..],
            &[4],
            &[4, 1],
            &[4, 0x80, 0, 0],
            &[4, 0x81],
            &[4, 0x85, 0, 0, 0, 0, 0],
            &[4, 0x84, 255, 255, 255, 255, 1],
        ] {
            assert_eq!(element(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn garbage_is_signed_by_nobody() {
        assert!(Signed::read(&[0x30, 3, 1, 1, 1]).is_none());
        assert!(key_of(&[0x30, 0]).is_none());
    }
}
