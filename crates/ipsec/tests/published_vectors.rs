//! Test vectors of RFCs and of NIST's ACVP, through this crate's own interfaces. (Those of RFC 2759, RFC 3079, RFC 4231
//! and RFC 7427 stand beside the code that they test.)
#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::PathBuf;

use evenkeel_ipsec::crypto::{Encr, Group, KeyExchange, Prf, SkKey};

fn bytes(text: &str) -> Vec<u8> {
    hex::decode(text.replace([' ', '\n'], "")).unwrap()
}

/// Both sides' key pairs, what they publish and what they agree on.
fn agree(group: Group, [i, gi, r, gr, shared]: [&str; 5]) {
    let pairs = [(i, gi, gr), (r, gr, gi)];
    for (private, public, peer) in pairs {
        let pair = KeyExchange::from_private_value(group, &bytes(private)).unwrap();
        assert_eq!(hex::encode(pair.public()), public.to_ascii_lowercase(), "{group}");
        assert_eq!(pair.agree(&bytes(peer)).unwrap().as_bytes(), bytes(shared), "{group}");
    }
}

#[test]
fn rfc_7748_section_6_1_x25519() {
    agree(
        Group::X25519,
        [
            "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
            "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a",
            "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
            "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
            "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742",
        ],
    );
}

#[test]
fn rfc_7748_section_5_2_x25519() {
    for (scalar, u, output) in [
        (
            "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
            "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
            "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
        ),
        (
            "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
            "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
            "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
        ),
    ] {
        let pair = KeyExchange::from_private_value(Group::X25519, &bytes(scalar)).unwrap();
        assert_eq!(pair.agree(&bytes(u)).unwrap().as_bytes(), bytes(output));
    }
    // The iterated test, 1000 rounds.
    let mut k = vec![0; 32];
    k[0] = 9;
    let mut u = k.clone();
    for _ in 0..1000 {
        let pair = KeyExchange::from_private_value(Group::X25519, &k).unwrap();
        let next = pair.agree(&u).unwrap().as_bytes().to_vec();
        u = std::mem::replace(&mut k, next);
    }
    assert_eq!(hex::encode(k), "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51");
}

#[test]
fn rfc_5903_section_8_nist_curves() {
    agree(
        Group::P256,
        [
            "C88F01F510D9AC3F70A292DAA2316DE544E9AAB8AFE84049C62A9C57862D1433",
            "DAD0B65394221CF9B051E1FECA5787D098DFE637FC90B9EF945D0C3772581180\
             5271A0461CDB8252D61F1C456FA3E59AB1F45B33ACCF5F58389E0577B8990BB3",
            "C6EF9C5D78AE012A011164ACB397CE2088685D8F06BF9BE0B283AB46476BEE53",
            "D12DFB5289C8D4F81208B70270398C342296970A0BCCB74C736FC7554494BF63\
             56FBF3CA366CC23E8157854C13C58D6AAC23F046ADA30F8353E74F33039872AB",
            "D6840F6B42F6EDAFD13116E0E12565202FEF8E9ECE7DCE03812464D04B9442DE",
        ],
    );
    agree(
        Group::P384,
        [
            "099F3C7034D4A2C699884D73A375A67F7624EF7C6B3C0F160647B67414DCE655E35B538041E649EE3FAEF896783AB194",
            "667842D7D180AC2CDE6F74F37551F55755C7645C20EF73E31634FE72B4C55EE6DE3AC808ACB4BDB4C88732AEE95F41AA\
             9482ED1FC0EEB9CAFC4984625CCFC23F65032149E0E144ADA024181535A0F38EEB9FCFF3C2C947DAE69B4C634573A81C",
            "41CB0779B4BDB85D47846725FBEC3C9430FAB46CC8DC5060855CC9BDA0AA2942E0308312916B8ED2960E4BD55A7448FC",
            "E558DBEF53EECDE3D3FCCFC1AEA08A89A987475D12FD950D83CFA41732BC509D0D1AC43A0336DEF96FDA41D0774A3571\
             DCFBEC7AACF3196472169E838430367F66EEBE3C6E70C416DD5F0C68759DD1FFF83FA40142209DFF5EAAD96DB9E6386C",
            "11187331C279962D93D604243FD592CB9D0A926F422E47187521287E7156C5C4D603135569B9E9D09CF5D4A270F59746",
        ],
    );
    agree(
        Group::P521,
        [
            "0037ADE9319A89F4DABDB3EF411AACCCA5123C61ACAB57B5393DCE47608172A095AA85A30FE1C2952C6771D937BA9777\
             F5957B2639BAB072462F68C27A57382D4A52",
            "0015417E84DBF28C0AD3C278713349DC7DF153C897A1891BD98BAB4357C9ECBEE1E3BF42E00B8E380AEAE57C2D107564\
             941885942AF5A7F4601723C4195D176CED3E\
             017CAE20B6641D2EEB695786D8C946146239D099E18E1D5A514C739D7CB4A10AD8A788015AC405D7799DC75E7B7D5B6C\
             F2261A6A7F1507438BF01BEB6CA3926F9582",
            "0145BA99A847AF43793FDD0E872E7CDFA16BE30FDC780F97BCCC3F078380201E9C677D600B343757A3BDBF2A3163E4C2\
             F869CCA7458AA4A4EFFC311F5CB151685EB9",
            "00D0B3975AC4B799F5BEA16D5E13E9AF971D5E9B984C9F39728B5E5739735A219B97C356436ADC6E95BB0352F6BE64A6\
             C2912D4EF2D0433CED2B6171640012D9460F\
             015C68226383956E3BD066E797B623C27CE0EAC2F551A10C2C724D9852077B87220B6536C5C408A1D2AEBB8E86D678AE\
             49CB57091F4732296579AB44FCD17F0FC56A",
            "01144C7D79AE6956BC8EDB8E7C787C4521CB086FA64407F97894E5E6B2D79B04D1427E73CA4BAA240A34786859810C06\
             B3C715A3A8CC3151F2BEE417996D19F3DDEA",
        ],
    );
}

/// A whole protected IKE message.
#[test]
fn rfc_7634_appendix_b_chacha20_poly1305_in_ike() {
    let key: Vec<u8> = (0x80..=0x9f).chain(0xa0..=0xa3).collect();
    let message = bytes(
        "c0c1c2c3c4c5c6c7d0d1d2d3d4d5d6d72e202500000000090000004529000029\
         1011121314151617\
         61039470 1f8d017f 7c129248 89\
         6b71bfe2 5236efd7 cdc67066 906315b2",
    );
    let key = SkKey::new(Encr::ChaCha20Poly1305, None, &key, &[]).unwrap();
    let payloads = key.open(&message, 32).unwrap();
    // One notification, SET_WINDOW_SIZE 10; the padding length after it is gone.
    assert_eq!(*payloads, bytes("0000000c 00004001 0000000a"));
}

/// The key derivation of RFC 7296 §2.14, §2.17 and §2.18, with PRF_HMAC_SHA1. NIST's file has the results; the inputs
/// are those of the CAVP vector that they belong to.
#[test]
fn acvp_ikev2_key_derivation() {
    let Some(path) = vectors().map(|folder| folder.join("acvp.ikev2.json")).filter(|path| path.exists())
    else {
        eprintln!("skipped: no folder with acvp.ikev2.json (EVENKEEL_VECTORS)");
        return;
    };
    let expected: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let expected = |name: &str| bytes(expected[name].as_str().unwrap());

    let (ni, nr) = (bytes("32b50d5f4a3763f3"), bytes("9206a04b26564cb1"));
    let (spi_i, spi_r) = (bytes("34c9e7c188868785"), bytes("3ff77d760d2b2199"));
    let g_ir = bytes("4b2c1f971981a8ad8d0abeafabf38cf75fc8349c148142465ed9c8b516b8be52");
    let g_ir_new = bytes("863f3c9d06efd39d2b907b97f8699e5dd5251ef64a2a176f36ee40c87d4f9330");
    let prf = Prf::HmacSha1;

    let skeyseed = prf.mac(&[ni.as_slice(), &nr].concat(), &[&g_ir]);
    assert_eq!(skeyseed.as_bytes(), expected("sKeySeed"));
    let keymat = prf.plus(skeyseed.as_bytes(), &[&ni, &nr, &spi_i, &spi_r], 132);
    assert_eq!(keymat.as_bytes(), expected("derivedKeyingMaterial"));
    let sk_d = &keymat.as_bytes()[..prf.output_len()];
    let child = prf.plus(sk_d, &[&ni, &nr], 132);
    assert_eq!(child.as_bytes(), expected("derivedKeyingMaterialChild"));
    let child_with_pfs = prf.plus(sk_d, &[&g_ir_new, &ni, &nr], 132);
    assert_eq!(child_with_pfs.as_bytes(), expected("derivedKeyingMaterialDh"));
    let rekeyed = prf.mac(sk_d, &[&g_ir_new, &ni, &nr]);
    assert_eq!(rekeyed.as_bytes(), expected("sKeySeedReKey"));
}

/// The folder of vectors that aren't part of the repository.
fn vectors() -> Option<PathBuf> {
    match std::env::var_os("EVENKEEL_VECTORS") {
        Some(folder) => Some(folder.into()),
        None => {
            let workspace = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().ok()?;
            Some(workspace.join("../shared/vectors"))
        }
    }
}
