//! Revocation lists of an authority.

use std::time::Duration;

use rcgen::{CertificateRevocationListParams, KeyIdMethod, RevokedCertParams, SerialNumber};

use super::mint::{Authority, Validity, timed};
use super::{Issued, PkiError};
use crate::identity::{Bounds, parse};

/// A full revocation list.
#[derive(Clone, Debug)]
pub struct RevocationSpec {
    /// Its cRLNumber.
    pub number: u64,
    /// From thisUpdate to nextUpdate.
    pub validity: Validity,
    /// The serial numbers it revokes.
    pub serials: Vec<Vec<u8>>,
}

impl RevocationSpec {
    /// The first list of an authority, of `now`, good for a week.
    #[must_use]
    pub fn new(now: Duration) -> Self {
        let validity = Validity { not_before: now, not_after: now.saturating_add(Duration::from_hours(7 * 24)) };
        Self { number: 1, validity, serials: Vec::new() }
    }

    /// The same, revoking this certificate too.
    ///
    /// # Errors
    ///
    /// [`PkiError::Mint`] if the certificate cannot be read.
    pub fn revoke(mut self, issued: &Issued) -> Result<Self, PkiError> {
        let identity = parse(&issued.cert_der(), &Bounds::default())
            .map_err(|_| PkiError::Mint(rcgen::Error::CouldNotParseCertificate))?;
        self.serials.push(identity.serial.0.into());
        Ok(self)
    }
}

impl Authority {
    /// A revocation list of this authority, DER.
    ///
    /// # Errors
    ///
    /// [`PkiError::Mint`] if it cannot be made, [`PkiError::OutOfTime`].
    pub fn revocation_list(&self, spec: &RevocationSpec) -> Result<Vec<u8>, PkiError> {
        let dates = timed(spec.validity)?;
        let this_update = dates.not_before;
        let revoked = |serial: &Vec<u8>| RevokedCertParams {
            serial_number: SerialNumber::from_slice(serial),
            revocation_time: this_update,
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update,
            next_update: dates.not_after,
            crl_number: SerialNumber::from(spec.number),
            issuing_distribution_point: None,
            revoked_certs: spec.serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Ok(params.signed_by(self.issuer())?.der().to_vec())
    }
}
