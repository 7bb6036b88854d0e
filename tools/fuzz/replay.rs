//! Runs fuzz targets over the inputs that are checked in: a module of each crate's own tests.
//! Never makes up an input.

use std::fs;
use std::path::Path;

/// A target by its name.
pub(crate) type Target<'a> = (&'a str, fn(&[u8]));

/// Runs each target over every file of its corpus.
fn corpora(targets: &[Target<'_>]) {
    // The crate lies at the top or somewhere below it.
    let above =
        Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|path| path.join("tools/fuzz"));
    let fuzz = above.into_iter().find(|path| path.is_dir()).expect("tools/fuzz is at the top");
    for (name, run) in targets {
        let program = fuzz.join(format!("fuzz_targets/{name}.rs"));
        assert!(program.is_file(), "{name} has no program: {}", program.display());
        let corpus = fuzz.join("corpus").join(name);
        let files = fs::read_dir(&corpus).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut count = 0;
        for file in files {
            let path = file.unwrap_or_else(|error| panic!("{name}: {error}")).path();
            let input = fs::read(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
            eprintln!("{}", path.display());
            run(&input);
            count += 1;
        }
        assert!(count > 0, "{name} has no inputs in {}", corpus.display());
    }
}

#[test]
fn every_input_of_the_corpus_is_decoded_or_refused() {
    corpora(super::TARGETS);
}
