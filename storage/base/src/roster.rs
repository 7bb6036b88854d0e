//! The roster: who belongs to the cluster, under an epoch, signed by the cluster CA.
//! Never reads a file or a certificate chain; it is handed text and the CA's public key.
//!
//! ```text
//! # quard roster                       what people read
//! epoch = 3 ...                        TOML, docs/formats.md "Roster"
//! # signature: <hex of 64 bytes>       last line; over every byte before it
//! ```

use crate::ids::{ClusterId, MemberId};
use crate::limits::{MEMBERS_MAX, ROSTER_BYTES_MAX};
use crate::signing::{PUBLIC_KEY_BYTES, PublicKey, SIGNATURE_BYTES, Signature, SigningKey};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

const SIGNATURE_LINE: &str = "# signature: ";
const SIGNATURE_CONTEXT: &[u8] = b"quard roster signature v1\0";

/// One member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The member's id, also in its certificate.
    pub id: MemberId,
    /// What Baruwa calls the node's Cluster id; unique in the roster.
    pub node_number: u16,
    /// Name for people; unique in the roster.
    pub name: String,
    /// Where the machine stands; empty when unknown.
    pub location: String,
    /// `host:port` under which the member is reached, in order of preference.
    pub addresses: Vec<String>,
    /// The key that its certificate carries and its actions are signed with.
    pub public_key: PublicKey,
}

/// The members of a cluster at one epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roster {
    /// Which cluster.
    pub cluster: ClusterId,
    /// Grows with each change.
    pub epoch: u64,
    /// Present members.
    pub members: Vec<Member>,
    /// Members that were removed; what they signed before stays valid.
    pub past_members: Vec<Member>,
}

/// A roster together with the signed text it was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedRoster {
    roster: Roster,
    text: String,
}

/// Text that is no roster of this cluster.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RosterError {
    /// Beyond the limit.
    #[error("roster of {0} bytes is beyond the limit of {ROSTER_BYTES_MAX}")]
    TooLarge(usize),
    /// No signature line at the end.
    #[error("roster does not end in a line \"# signature: ...\"; it was cut off or edited")]
    Unsigned,
    /// The signature is not the CA's over this text.
    #[error(
        "roster is not signed by this cluster's CA; it was edited or belongs to another cluster"
    )]
    Signature,
    /// The text is not the TOML that a roster is.
    #[error("roster cannot be read: {0}")]
    Toml(String),
    /// Two members share what must be unique, or a field cannot be.
    #[error("roster is inconsistent: {0}")]
    Inconsistent(String),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RosterText {
    cluster: String,
    epoch: u64,
    #[serde(default, rename = "member")]
    members: Vec<MemberText>,
    #[serde(default, rename = "past_member", skip_serializing_if = "Vec::is_empty")]
    past_members: Vec<MemberText>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MemberText {
    id: String,
    node_number: u16,
    name: String,
    #[serde(default)]
    location: String,
    addresses: Vec<String>,
    public_key: String,
}

impl Roster {
    /// The member with this id.
    #[must_use]
    pub fn member(&self, id: MemberId) -> Option<&Member> {
        self.members.iter().find(|member| member.id == id)
    }

    /// Keys that a member, present or past, may have signed actions with.
    pub fn keys_of(&self, id: MemberId) -> impl Iterator<Item = PublicKey> + '_ {
        self.members
            .iter()
            .chain(&self.past_members)
            .filter(move |member| member.id == id)
            .map(|member| member.public_key)
    }

    fn check(&self) -> Result<(), RosterError> {
        let fail = |why: String| Err(RosterError::Inconsistent(why));
        let all = self.members.len() + self.past_members.len();
        if self.members.is_empty() || all > MEMBERS_MAX {
            return fail(format!("it lists {all} members; there may be 1 to {MEMBERS_MAX}"));
        }
        let mut ids = BTreeSet::new();
        let mut numbers = BTreeSet::new();
        let mut names = BTreeSet::new();
        for member in &self.members {
            if !ids.insert(member.id) {
                return fail(format!("member id {} appears twice", member.id));
            }
            if !numbers.insert(member.node_number) {
                return fail(format!("node number {} appears twice", member.node_number));
            }
            if !names.insert(&member.name) {
                return fail(format!("name {:?} appears twice", member.name));
            }
        }
        for Member { name, addresses, .. } in self.members.iter().chain(&self.past_members) {
            let name_is_plain =
                (1..=64).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic());
            if !name_is_plain {
                return fail(format!("name {name:?} is empty, too long or not plain ASCII"));
            }
            if addresses.is_empty() || addresses.len() > 8 {
                return fail(format!("member {name} needs 1 to 8 addresses"));
            }
        }
        Ok(())
    }
}

impl SignedRoster {
    /// Writes a roster down and signs it with the CA's key.
    ///
    /// # Errors
    /// [`RosterError::Inconsistent`] when members share an id, a number or a name.
    pub fn sign(roster: Roster, authority: &SigningKey) -> Result<Self, RosterError> {
        roster.check()?;
        let form = RosterText::from(&roster);
        let body = toml::to_string(&form).map_err(|error| RosterError::Toml(error.to_string()))?;
        let body =
            format!("# quard roster, signed by the cluster CA: an edited copy is refused\n{body}");
        let signature = authority.sign(&signed_text(&body));
        let digits = data_encoding::HEXLOWER.encode(&signature.0);
        let text = format!("{body}{SIGNATURE_LINE}{digits}\n");
        Ok(Self { roster, text })
    }

    /// Reads a roster and checks its signature first.
    ///
    /// *Limits*: [`ROSTER_BYTES_MAX`] bytes, [`MEMBERS_MAX`] members.
    ///
    /// # Errors
    /// Any [`RosterError`].
    pub fn parse(text: &str, authority: &PublicKey) -> Result<Self, RosterError> {
        if text.len() > ROSTER_BYTES_MAX {
            return Err(RosterError::TooLarge(text.len()));
        }
        let (body, signature) = split_signature(text).ok_or(RosterError::Unsigned)?;
        if !authority.verifies(&signed_text(body), &signature) {
            return Err(RosterError::Signature);
        }
        let form: RosterText =
            toml::from_str(body).map_err(|error| RosterError::Toml(error.message().to_owned()))?;
        let roster = Roster::try_from(form)?;
        roster.check()?;
        Ok(Self { roster, text: text.to_owned() })
    }

    /// The roster.
    #[must_use]
    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    /// The signed text, as it is stored and sent.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

fn signed_text(body: &str) -> Vec<u8> {
    [SIGNATURE_CONTEXT, body.as_bytes()].concat()
}

fn split_signature(text: &str) -> Option<(&str, Signature)> {
    let at = text.rfind(SIGNATURE_LINE)?;
    let (body, line) = text.split_at(at);
    let digits = line.strip_prefix(SIGNATURE_LINE)?.strip_suffix('\n')?;
    let bytes = data_encoding::HEXLOWER.decode(digits.as_bytes()).ok()?;
    let signature: [u8; SIGNATURE_BYTES] = bytes.try_into().ok()?;
    (body.is_empty() || body.ends_with('\n')).then_some((body, Signature(signature)))
}

impl From<&Roster> for RosterText {
    fn from(roster: &Roster) -> Self {
        let texts = |members: &[Member]| members.iter().map(MemberText::from).collect();
        Self {
            cluster: roster.cluster.to_string(),
            epoch: roster.epoch,
            members: texts(&roster.members),
            past_members: texts(&roster.past_members),
        }
    }
}

impl From<&Member> for MemberText {
    fn from(member: &Member) -> Self {
        Self {
            id: member.id.to_string(),
            node_number: member.node_number,
            name: member.name.clone(),
            location: member.location.clone(),
            addresses: member.addresses.clone(),
            public_key: data_encoding::HEXLOWER.encode(&member.public_key.0),
        }
    }
}

impl TryFrom<RosterText> for Roster {
    type Error = RosterError;

    fn try_from(form: RosterText) -> Result<Self, RosterError> {
        let members = |texts: Vec<MemberText>| -> Result<Vec<Member>, RosterError> {
            texts.into_iter().map(Member::try_from).collect()
        };
        Ok(Self {
            cluster: parse(&form.cluster)?,
            epoch: form.epoch,
            members: members(form.members)?,
            past_members: members(form.past_members)?,
        })
    }
}

impl TryFrom<MemberText> for Member {
    type Error = RosterError;

    fn try_from(form: MemberText) -> Result<Self, RosterError> {
        let key: Option<[u8; PUBLIC_KEY_BYTES]> = data_encoding::HEXLOWER
            .decode(form.public_key.as_bytes())
            .ok()
            .and_then(|bytes| bytes.try_into().ok());
        let wrong_key =
            || RosterError::Inconsistent(format!("{} has no P-256 public key", form.name));
        Ok(Self {
            id: parse(&form.id)?,
            node_number: form.node_number,
            public_key: PublicKey(key.ok_or_else(wrong_key)?),
            name: form.name,
            location: form.location,
            addresses: form.addresses,
        })
    }
}

fn parse<T: std::str::FromStr<Err = crate::ids::IdTextError>>(
    text: &str,
) -> Result<T, RosterError> {
    text.parse()
        .map_err(|error: crate::ids::IdTextError| RosterError::Inconsistent(error.to_string()))
}

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;

#[cfg(test)]
mod tests {
    use super::{Member, Roster, RosterError, SignedRoster};
    use crate::ids::{ClusterId, MemberId};
    use crate::signing::SigningKey;
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};

    fn key() -> SigningKey {
        let pkcs8 =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
                .unwrap();
        SigningKey::from_pkcs8(pkcs8.as_ref()).unwrap()
    }

    fn roster() -> Roster {
        let members = (1..=3u8)
            .map(|number| Member {
                id: MemberId([number; 16]),
                node_number: number.into(),
                name: format!("node{number}"),
                location: "here".into(),
                addresses: vec![format!("127.0.0.{number}:1027")],
                public_key: key().public(),
            })
            .collect();
        Roster { cluster: ClusterId([9; 16]), epoch: 4, members, past_members: Vec::new() }
    }

    #[test]
    fn a_signed_roster_reads_back() {
        let authority = key();
        let signed = SignedRoster::sign(roster(), &authority).unwrap();
        assert_eq!(SignedRoster::parse(signed.text(), &authority.public()), Ok(signed));
    }

    #[test]
    fn refuses_an_edited_a_truncated_and_a_foreign_roster() {
        let authority = key();
        let signed = SignedRoster::sign(roster(), &authority).unwrap();
        let edited = signed.text().replace("127.0.0.1", "127.0.0.9");
        let parse = |text: &str| SignedRoster::parse(text, &authority.public());
        assert_eq!(parse(&edited), Err(RosterError::Signature));
        assert_eq!(parse(&signed.text()[..200]), Err(RosterError::Unsigned));
        assert_eq!(parse(""), Err(RosterError::Unsigned));
        assert_eq!(
            SignedRoster::parse(signed.text(), &key().public()),
            Err(RosterError::Signature)
        );
    }

    #[test]
    fn refuses_to_sign_what_is_not_unique() {
        let mut twice = roster();
        twice.members[1].node_number = 1;
        let error = SignedRoster::sign(twice, &key()).expect_err("two nodes share a number");
        assert_eq!(error.to_string(), "roster is inconsistent: node number 1 appears twice");
    }
}
