//! What must hold of any text that is handed in as a roster.
//! Never built into the product, and never signs anything.

use super::{Roster, RosterError, RosterText, SignedRoster, split_signature};
use crate::limits::MEMBERS_MAX;
use crate::signing::PublicKey;

/// The generator of P-256: a valid point, and nobody is asked to sign for it.
const AUTHORITY: &str = "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296\
                         4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5";

/// The text as it stands, and the part that its signature would be of.
pub(crate) fn roster(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let point = data_encoding::HEXLOWER.decode(AUTHORITY.as_bytes()).expect("hex digits");
    let authority = PublicKey(point.try_into().expect("65 bytes"));
    let signed = split_signature(text);
    let parsed = SignedRoster::parse(text, &authority);
    let refused = if signed.is_some() { RosterError::Signature } else { RosterError::Unsigned };
    assert_eq!(parsed, Err(refused), "nobody signed it");
    let body = signed.map_or(text, |(body, _)| body);
    let Ok(roster) = read(body) else { return };
    check_limits(&roster);
    let again = toml::to_string(&RosterText::from(&roster)).expect("it was TOML before");
    assert_eq!(read(&again), Ok(roster));
}

/// What [`SignedRoster::parse`] does once the signature has held.
fn read(body: &str) -> Result<Roster, RosterError> {
    let form: RosterText =
        toml::from_str(body).map_err(|error| RosterError::Toml(error.message().to_owned()))?;
    let roster = Roster::try_from(form)?;
    roster.check()?;
    Ok(roster)
}

fn check_limits(roster: &Roster) {
    let all = || roster.members.iter().chain(&roster.past_members);
    assert!(!roster.members.is_empty() && all().count() <= MEMBERS_MAX);
    for member in all() {
        assert!((1..=64).contains(&member.name.len()) && member.name.is_ascii());
        assert!((1..=8).contains(&member.addresses.len()));
        assert!(roster.keys_of(member.id).any(|key| key == member.public_key));
    }
    for member in &roster.members {
        assert_eq!(roster.member(member.id), Some(member), "an id names one member");
    }
}
