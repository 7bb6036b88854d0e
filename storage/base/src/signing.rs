//! Signatures of members over records and rosters: ECDSA on P-256 with SHA-256.
//! Never makes keys; key material comes from whoever reads files.

use crate::ids::KeyId;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
    UnparsedPublicKey,
};

/// Length of a signature: r and s, 32 bytes each.
pub const SIGNATURE_BYTES: usize = 64;
/// Length of a public key: an uncompressed P-256 point.
pub const PUBLIC_KEY_BYTES: usize = 65;

/// A signature in its fixed form.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Signature(pub [u8; SIGNATURE_BYTES]);

/// A public key: an uncompressed P-256 point, as it stands in a certificate.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey(pub [u8; PUBLIC_KEY_BYTES]);

impl PublicKey {
    /// The id by which records name this key.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        let digest = blake3::hash(&self.0);
        KeyId::from_slice(&digest.as_bytes()[..KeyId::BYTES]).expect("a digest has 32 bytes")
    }

    /// Whether `signature` is this key's over `text`.
    #[must_use]
    pub fn verifies(&self, text: &[u8], signature: &Signature) -> bool {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &self.0[..])
            .verify(text, &signature.0)
            .is_ok()
    }
}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PublicKey({})", self.key_id())
    }
}

/// A private key that was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a P-256 private key in PKCS #8 DER")]
pub struct SigningKeyError;

/// A member's private key. Its bytes are never shown.
pub struct SigningKey {
    signer: Signer,
    public: PublicKey,
}

/// What makes a key's signatures.
enum Signer {
    Library(EcdsaKeyPair),
    /// Whoever has the key.
    Elsewhere(Sign),
}

type Sign = Box<dyn Fn(&[u8]) -> Signature + Send + Sync>;

impl SigningKey {
    /// Reads a P-256 key in PKCS #8 DER.
    ///
    /// # Errors
    /// [`SigningKeyError`] for anything else.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, SigningKeyError> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der)
            .map_err(|_| SigningKeyError)?;
        let public = pair.public_key().as_ref().try_into().map_err(|_| SigningKeyError)?;
        Ok(Self { signer: Signer::Library(pair), public: PublicKey(public) })
    }

    /// A key that lies elsewhere: `sign` makes the signatures that `public` verifies. For whoever needs the
    /// same signature each time, as a simulator does.
    #[must_use]
    pub fn elsewhere(
        public: PublicKey,
        sign: impl Fn(&[u8]) -> Signature + Send + Sync + 'static,
    ) -> Self {
        Self { signer: Signer::Elsewhere(Box::new(sign)), public }
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// Signs a text. The nonce comes from the crypto library's own generator.
    #[must_use]
    pub fn sign(&self, text: &[u8]) -> Signature {
        let pair = match &self.signer {
            Signer::Library(pair) => pair,
            Signer::Elsewhere(sign) => return sign(text),
        };
        let signature = pair
            .sign(&SystemRandom::new(), text)
            .expect("signing with a checked key fails only without entropy");
        Signature(signature.as_ref().try_into().expect("the fixed form has 64 bytes"))
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({})", self.public.key_id())
    }
}

#[cfg(test)]
mod tests {
    use super::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, SigningKey, SystemRandom};

    #[test]
    fn a_signature_holds_for_its_text_and_key_only() {
        let [one, other] = [(), ()].map(|()| {
            let pkcs8 = EcdsaKeyPair::generate_pkcs8(
                &ECDSA_P256_SHA256_FIXED_SIGNING,
                &SystemRandom::new(),
            )
            .unwrap();
            SigningKey::from_pkcs8(pkcs8.as_ref()).unwrap()
        });
        let signature = one.sign(b"text");
        assert!(one.public().verifies(b"text", &signature));
        assert!(!one.public().verifies(b"tex", &signature));
        assert!(!other.public().verifies(b"text", &signature));
        assert_ne!(one.public().key_id(), other.public().key_id());
    }

    #[test]
    fn a_key_that_lies_elsewhere_signs_by_whoever_has_it() {
        let pkcs8 =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
                .unwrap();
        let here = SigningKey::from_pkcs8(pkcs8.as_ref()).unwrap();
        let public = here.public();
        let elsewhere = SigningKey::elsewhere(public, move |text| here.sign(text));
        assert_eq!(elsewhere.public(), public);
        assert!(public.verifies(b"text", &elsewhere.sign(b"text")));
        assert!(!public.verifies(b"other", &elsewhere.sign(b"text")));
    }

    #[test]
    fn refuses_bytes_that_are_no_key() {
        assert!(SigningKey::from_pkcs8(b"not a key").is_err());
    }
}
