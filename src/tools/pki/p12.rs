//! PKCS#12 (RFC 7292): a key and its chain in one file under a password, as mobile apps carry it.

use p12_keystore::{
    Certificate, EncryptionAlgorithm, KeyStore, KeyStoreEntry, MacAlgorithm, PrivateKey, PrivateKeyChain,
};

use super::{Issued, PkiError};

impl Issued {
    /// A P12 with the key and the whole chain, the root too: PBES2 with AES-256-CBC, PBKDF2 and MAC with
    /// HMAC-SHA-256. `alias` is the friendly name that key stores show.
    ///
    /// # Errors
    ///
    /// [`PkiError::P12`] if the alias is outside the Basic Multilingual Plane.
    pub fn p12(&self, alias: &str, password: &str) -> Result<Vec<u8>, PkiError> {
        let chain = self.full_chain_der();
        let certificates: Vec<_> = chain.iter().map(|der| Certificate::from_der(der)).collect::<Result<_, _>>()?;
        let key = PrivateKey::from_der(self.key_der().secret_der())?;
        let fingerprint = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &self.cert_der());
        let mut store = KeyStore::new();
        let entry = PrivateKeyChain::new(fingerprint.as_ref(), key, certificates);
        store.add_entry(alias, KeyStoreEntry::PrivateKeyChain(entry));
        Ok(store
            .writer(password)
            .encryption_algorithm(EncryptionAlgorithm::PbeWithHmacSha256AndAes256)
            .encryption_iterations(ITERATIONS)
            .mac_algorithm(MacAlgorithm::HmacSha256)
            .mac_iterations(ITERATIONS)
            .write()?)
    }
}

/// What keytool writes (`keystore.pkcs12.*IterationCount` of the JDK): slow enough for a password that
/// is no secret, fast enough for the phone that opens the file at every start.
const ITERATIONS: u32 = 10_000;
