//! Tests of the layers between crates: the table is sound, and each rule finds what it forbids.
use super::{Crate, Kind, PLACES, PURE, Use, check, line_of, place_of, pure_folders};

/// The workspace as the table has it, each crate using all that it may.
fn sound() -> Vec<Crate> {
    let crates = PLACES.iter().map(|place| Crate {
        name: place.name.to_owned(),
        manifest: format!("{}/Cargo.toml", place.name),
        manifest_text: String::new(),
        uses: place.may_use.iter().map(|name| product(name)).collect(),
    });
    crates.collect()
}

fn product(name: &str) -> Use {
    Use { name: name.to_owned(), kind: Kind::Product }
}

fn test_only(name: &str) -> Use {
    Use { name: name.to_owned(), kind: Kind::Test }
}

/// What is found when `name` uses one thing more than it may.
fn found_with(name: &str, used: Use) -> Vec<String> {
    let mut crates = sound();
    let each = crates.iter_mut().find(|each| each.name == name);
    each.expect("the crate is in the table").uses.push(used);
    let findings = check(&crates).into_iter();
    findings.map(|finding| finding.to_string()).collect()
}

fn refuses(name: &str, used: Use, part: &str) {
    let label = format!("{name} uses {used:?}");
    let found = found_with(name, used);
    assert_eq!(found.len(), 1, "{label}: {found:?}");
    assert!(found[0].contains(part), "{label}: {found:?}");
}

fn allows(name: &str, used: Use) {
    let label = format!("{name} uses {used:?}");
    assert_eq!(found_with(name, used), [""; 0], "{label}");
}

#[test]
fn the_table_has_each_crate_once_and_its_arrows_point_down() {
    for place in PLACES {
        let rows = PLACES.iter().filter(|other| other.name == place.name);
        assert_eq!(rows.count(), 1, "{}", place.name);
        for used in place.may_use {
            let below = place_of(used).expect("the table knows what it allows");
            assert!(below.layer < place.layer, "{} uses {used}", place.name);
        }
    }
}

#[test]
fn a_workspace_as_in_the_table_is_sound() {
    assert_eq!(check(&sound()), []);
}

#[test]
fn refuses_an_arrow_that_points_up_or_aside() {
    refuses("quar-base", product("quar-merkle"), "layer 1");
    refuses("quar-sync", product("quar-store"), "may not depend on");
    refuses("quar-store", product("quar-net"), "may not depend on");
    refuses("quar-node", product("quar-net"), "may not depend on");
    refuses("quarctl", product("quar-node"), "may not depend on");
    refuses("xtask", product("quar-base"), "may not depend on");
}

#[test]
fn tests_may_reach_their_own_layer_and_below_and_no_higher() {
    allows("quar-node", test_only("quar-index"));
    allows("quar-store", test_only("quar-sync"));
    refuses("quar-store", test_only("quar-node"), "move the test up");
    refuses("quar-merkle", test_only("quar-store"), "move the test up");
}

#[test]
fn refuses_a_crate_that_the_table_does_not_know() {
    let mut crates = sound();
    crates.push(Crate {
        name: "quar-util".to_owned(),
        manifest: "storage/util/Cargo.toml".to_owned(),
        manifest_text: String::new(),
        uses: Vec::new(),
    });
    let found = check(&crates);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].path, "storage/util/Cargo.toml");
    assert!(found[0].what.contains("name it in the table"), "{found:?}");
}

#[test]
fn refuses_a_row_without_a_crate() {
    let crates: Vec<Crate> = sound().into_iter().filter(|each| each.name != "quarctl").collect();
    let found = check(&crates);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].what.contains("no crate quarctl"), "{found:?}");
}

#[test]
fn sled_is_the_index_alone() {
    allows("quar-index", product("sled"));
    refuses("quar-store", product("sled"), "only quar-index");
    refuses("quard", test_only("sled"), "only quar-index");
}

#[test]
fn quic_and_tls_are_the_net_alone() {
    for library in ["quinn", "rustls", "tokio-rustls"] {
        allows("quar-net", product(library));
        refuses("quard", product(library), "only quar-net");
        // A test may play a stranger.
        allows("quarctl", test_only(library));
    }
    allows("quard", test_only("rcgen"));
}

#[test]
fn the_pure_crates_do_without_runtime_and_io() {
    for name in ["quar-base", "quar-merkle", "quar-sync", "quar-node"] {
        refuses(name, product("tokio"), "does no I/O");
        refuses(name, product("nix"), "does no I/O");
        allows(name, test_only("tempfile"));
    }
    allows("quar-store", product("nix"));
    allows("quar-net", product("tokio"));
}

#[test]
fn the_folders_of_the_pure_crates_follow_their_manifests() {
    let folders = pure_folders(&sound());
    assert_eq!(folders.len(), PURE.len());
    assert!(folders.contains(&"quar-node/src/".to_owned()), "{folders:?}");
}

#[test]
fn a_finding_points_at_the_line_of_the_dependency() {
    let manifest = "[dependencies]\nrustls-pki-types.workspace = true\nrustls = \"0.23\"\n";
    assert_eq!(line_of(manifest, "rustls"), 3);
    assert_eq!(line_of(manifest, "rustls-pki-types"), 2);
    assert_eq!(line_of(manifest, "sled"), 1);
}
