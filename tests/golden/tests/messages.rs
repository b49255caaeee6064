//! Goal: what Kafka writes we read, and what we write is what Kafka writes. Method: every golden case is decoded, encoded again
//! and compared; all messages in all versions must have been there.

use std::collections::{BTreeMap, BTreeSet};

use ottla_golden::{CODECS, Codec, cases};

#[test]
fn golden_bytes_come_back_the_same() {
    let codecs: BTreeMap<&str, &Codec> = CODECS.iter().map(|codec| (codec.name, codec)).collect();
    let mut seen: BTreeSet<(String, i16, String)> = BTreeSet::new();
    let mut wrong = Vec::new();
    for case in cases() {
        let codec = codecs.get(case.message.as_str()).unwrap_or_else(|| panic!("no message {}", case.message));
        let result = (codec.round_trip)(case.bytes.clone(), case.version);
        if result.as_ref() != Ok(&case.bytes) {
            wrong.push(format!(
                "{} v{} {}\n  is     {:?}\n  not    {:?}",
                case.message, case.version, case.kind, result, case.bytes
            ));
        }
        if case.kind == "default" {
            let default = (codec.default)(case.version);
            if default.as_ref() != Ok(&case.bytes) {
                wrong.push(format!("{} v{} default is {default:?} not {:?}", case.message, case.version, case.bytes));
            }
        }
        seen.insert((case.message, case.version, case.kind));
    }
    assert!(wrong.is_empty(), "{} cases differ:\n{}", wrong.len(), wrong[..wrong.len().min(20)].join("\n"));

    let mut visited = 0;
    for codec in CODECS {
        for version in codec.lowest..=codec.highest {
            let tagged: &[&str] = if version >= codec.flexible_from { &["tags", "default tags"] } else { &[] };
            for kind in ["default", "full"].iter().chain(tagged) {
                let key = (codec.name.to_owned(), version, (*kind).to_owned());
                assert!(seen.contains(&key), "no golden case {key:?}");
            }
            visited += 1;
        }
    }
    println!("{} cases, {visited} versions of {} messages", seen.len(), CODECS.len());
    assert!(visited > 500 && CODECS.len() > 250, "{visited} versions of {} messages", CODECS.len());
}

#[test]
fn every_cut_is_an_error_and_never_a_panic() {
    let codecs: BTreeMap<&str, &Codec> = CODECS.iter().map(|codec| (codec.name, codec)).collect();
    for case in cases().iter().filter(|case| case.kind == "full") {
        for length in 0..case.bytes.len() {
            let cut = (codecs[case.message.as_str()].decode)(case.bytes.slice(..length), case.version);
            assert!(cut.is_err(), "{} v{} with {length} of {} bytes", case.message, case.version, case.bytes.len());
        }
    }
}
