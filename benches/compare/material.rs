//! Certificates and lists, minted for one run.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use portcullis::tools::pki::{Authority, KeyKind, LeafSpec, Name, RevocationSpec, Validity};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, date_time_ymd,
};
use rustls::crypto::aws_lc_rs::sign::any_ecdsa_type;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::sign::CertifiedKey;

pub const HOST: &str = "localhost";
const CA: &str = "Bench CA";

/// Writes what proxies and load need into `dir`.
pub fn write(dir: &Path) -> Authority {
    let ca = Authority::new(CA, KeyKind::EcdsaP256).unwrap();
    let server = ca.issue(&LeafSpec::server(HOST, vec![Name::Dns(HOST.to_owned())], Validity::LONG)).unwrap();
    let save = |name: &str, text: &[u8]| fs::write(dir.join(name), text).unwrap();
    save("ca.pem", ca.pem().as_bytes());
    save("ca.key", ca.key_pem().as_bytes());
    save("server.pem", server.pem().as_bytes());
    save("server.key", server.key_pem().as_bytes());
    // HAProxy reads both from one file.
    save("server.both.pem", format!("{}{}", server.pem(), *server.key_pem()).as_bytes());
    write_crl(dir, &ca, 0);
    ca
}

/// Writes `crl-ENTRIES.pem`, a list of the authority.
pub fn write_crl(dir: &Path, ca: &Authority, entries: u32) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let list = RevocationSpec { serials: (0..entries).map(serial).collect(), ..RevocationSpec::new(now) };
    let der = ca.revocation_list(&list).unwrap();
    fs::write(dir.join(format!("crl-{entries}.pem")), pem("X509 CRL", &der)).unwrap();
}

/// Sixteen octets that look like chance: the multiplier is odd, so no two are the same.
fn serial(index: u32) -> Vec<u8> {
    const ODD: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;
    let mixed = (u128::from(index) + 1).wrapping_mul(ODD) & (u128::MAX >> 1) | (1 << 126);
    mixed.to_be_bytes().to_vec()
}

fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// Mints clients of the authority in `dir`: each has a certificate of its own. They share a key, which no
/// verifier notices and which saves the time of making it.
pub fn clients(dir: &Path, count: usize) -> Vec<Arc<CertifiedKey>> {
    let ca_key = KeyPair::from_pem(&fs::read_to_string(dir.join("ca.key")).unwrap()).unwrap();
    let mut ca = CertificateParams::default();
    ca.distinguished_name = name(CA, None);
    let ca = Issuer::new(ca, ca_key);
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let signing = any_ecdsa_type(&PrivatePkcs8KeyDer::from(key.serialize_der()).into()).unwrap();
    let mint = |index: usize| {
        let mut leaf = CertificateParams::default();
        leaf.serial_number = Some((index as u64 + (1 << 40)).into());
        (leaf.not_before, leaf.not_after) = (date_time_ymd(1970, 1, 1), date_time_ymd(2999, 1, 1));
        leaf.distinguished_name = name(&format!("device-{index:07}"), Some("Example"));
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let leaf = leaf.signed_by(&key, &ca).unwrap();
        Arc::new(CertifiedKey::new(vec![leaf.der().clone()], Arc::clone(&signing)))
    };
    (0..count).map(mint).collect()
}

fn name(common: &str, organization: Option<&str>) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    if let Some(organization) = organization {
        name.push(DnType::OrganizationName, organization);
    }
    name.push(DnType::CommonName, common);
    name
}
