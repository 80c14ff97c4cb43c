//! Compressed certificates (RFC 8879), with the compressors that answers have. The TLS library keeps what was compressed.

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use rustls::CertificateCompressionAlgorithm;
use rustls::compress::{CertCompressor, CompressionFailed, CompressionLevel};

/// zlib, which every client of today's OpenSSL offers.
#[derive(Debug)]
pub(super) struct Zlib;

/// Brotli, which browsers offer.
#[derive(Debug)]
pub(super) struct Brotli;

/// Brotli's window: no chain is much longer.
const WINDOW_BITS: i32 = 15;

impl CertCompressor for Zlib {
    fn compress(
        &self,
        input: Vec<u8>,
        level: CompressionLevel,
    ) -> Result<Vec<u8>, CompressionFailed> {
        let level = match level {
            CompressionLevel::Interactive => Compression::fast(),
            CompressionLevel::Amortized => Compression::best(),
        };
        let mut encoder = ZlibEncoder::new(Vec::with_capacity(input.len()), level);
        let written = encoder.write_all(&input);
        written
            .and_then(|()| encoder.finish())
            .map_err(|_| CompressionFailed)
    }

    fn algorithm(&self) -> CertificateCompressionAlgorithm {
        CertificateCompressionAlgorithm::Zlib
    }
}

impl CertCompressor for Brotli {
    fn compress(
        &self,
        input: Vec<u8>,
        level: CompressionLevel,
    ) -> Result<Vec<u8>, CompressionFailed> {
        let params = brotli::enc::BrotliEncoderParams {
            quality: match level {
                CompressionLevel::Interactive => 1,
                CompressionLevel::Amortized => 11,
            },
            lgwin: WINDOW_BITS,
            ..Default::default()
        };
        let mut out = Vec::with_capacity(input.len());
        match brotli::BrotliCompress(&mut &input[..], &mut out, &params) {
            Ok(_) => Ok(out),
            Err(_) => Err(CompressionFailed),
        }
    }

    fn algorithm(&self) -> CertificateCompressionAlgorithm {
        CertificateCompressionAlgorithm::Brotli
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn what_was_compressed_comes_back() {
        let chain: Vec<u8> = (0..4000u32).map(|n| (n * n % 251) as u8).collect();
        for level in [CompressionLevel::Interactive, CompressionLevel::Amortized] {
            let packed = Zlib.compress(chain.clone(), level).unwrap();
            let mut back = Vec::new();
            let mut decoder = flate2::read::ZlibDecoder::new(&packed[..]);
            decoder.read_to_end(&mut back).unwrap();
            assert!(back == chain && packed.len() < chain.len());
            let packed = Brotli.compress(chain.clone(), level).unwrap();
            let mut back = Vec::new();
            brotli::BrotliDecompress(&mut &packed[..], &mut back).unwrap();
            assert!(back == chain && packed.len() < chain.len());
        }
    }
}
