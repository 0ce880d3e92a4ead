//! RSASSA-PKCS1-v1_5 over SHA-1, for method 1 alone (RFC 7296 §3.8).
//!
//! aws-lc-rs has no signing with SHA-1, and gateways that know only method 1 verify nothing else (strongSwan among them).
//! So the padding (RFC 8017 §9.2) is made here, and the private operation is crypto-bigint's constant-time
//! exponentiation. It works without the CRT, whose faults give keys away, and without blinding, since its time depends
//! on the modulus's length only; the result is checked with the public key before it is given out.

use aws_lc_rs::digest;
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, UnparsedPublicKey};
use crypto_bigint::modular::{BoxedMontyForm, BoxedMontyParams};
use crypto_bigint::{BoxedUint, Odd};
use x509_cert::der::asn1::{AnyRef, OctetStringRef, UintRef};
use x509_cert::der::{self, Decode, Reader, SliceReader};
use zeroize::Zeroizing;

/// DER of DigestInfo up to the digest: SHA-1 with NULL parameters (RFC 8017 §9.2, note 1).
const DIGEST_INFO: [u8; 15] =
    [0x30, 0x21, 0x30, 0x09, 0x06, 0x05, 0x2b, 0x0e, 0x03, 0x02, 0x1a, 0x05, 0x00, 0x04, 0x14];

/// `None` if the key can't be taken apart, or the result doesn't verify.
pub(super) fn sign(key: &KeyPair, message: &[u8]) -> Option<Vec<u8>> {
    let private: Pkcs8V1Der<'_> = key.as_der().ok()?;
    let signature = private_operation(private.as_ref(), &encode(message, key.public_modulus_len())?)?;
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, key.public_key())
        .verify(message, &signature)
        .ok()?;
    Some(signature)
}

/// `block^d mod n` (RFC 8017 §5.2.1), as long as the block, which must be as long as the modulus.
pub(super) fn private_operation(pkcs8: &[u8], block: &[u8]) -> Option<Vec<u8>> {
    let (modulus, exponent) = modulus_and_exponent(pkcs8).ok()?;
    let bits = u32::try_from(modulus.len()).ok()?.checked_mul(8)?;
    let modulus = Option::<Odd<_>>::from(Odd::new(BoxedUint::from_be_slice(modulus, bits).ok()?))?;
    let exponent = Zeroizing::new(BoxedUint::from_be_slice(exponent, bits).ok()?);
    let block_value = BoxedUint::from_be_slice(block, bits).ok()?;
    let params = BoxedMontyParams::new_vartime(modulus);
    let power = BoxedMontyForm::new(block_value, &params).pow(&exponent).retrieve().to_be_bytes();
    // The library counts in whole words, a modulus may have any number of octets.
    let surplus = power.len().checked_sub(block.len())?;
    Some(power.get(surplus..)?.to_vec())
}

/// EMSA-PKCS1-v1_5: 0x00 0x01 0xff ... 0xff 0x00 DigestInfo.
pub(super) fn encode(message: &[u8], len: usize) -> Option<Vec<u8>> {
    let digest = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, message);
    let digest_info = [DIGEST_INFO.as_slice(), digest.as_ref()].concat();
    let padding = len.checked_sub(digest_info.len() + 3).filter(|padding| *padding >= 8)?;
    Some([&[0x00, 0x01], vec![0xff; padding].as_slice(), &[0x00], digest_info.as_slice()].concat())
}

/// PKCS#8 (RFC 5208 §5) around RSAPrivateKey (RFC 8017 A.1.2): the modulus and the private exponent.
fn modulus_and_exponent(pkcs8: &[u8]) -> der::Result<(&[u8], &[u8])> {
    let key = SliceReader::new(pkcs8)?.sequence(|reader| {
        let _version = UintRef::decode(reader)?;
        let _algorithm = AnyRef::decode(reader)?;
        let key = <&OctetStringRef>::decode(reader)?;
        reader.drain(reader.remaining_len())?;
        Ok::<_, der::Error>(key)
    })?;
    SliceReader::new(key.as_bytes())?.sequence(|reader| {
        let _version = UintRef::decode(reader)?;
        let modulus = UintRef::decode(reader)?;
        let _public_exponent = UintRef::decode(reader)?;
        let exponent = UintRef::decode(reader)?;
        reader.drain(reader.remaining_len())?;
        Ok((modulus.as_bytes(), exponent.as_bytes()))
    })
}
