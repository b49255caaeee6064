//! The C header from the functions of bindings/c, by cbindgen.

use std::fs;
use std::path::Path;

/// Where the header lies, from the workspace's root.
const TARGET: &str = "bindings/c/include/ottla.h";

/// Writes the header, or with `check` compares it.
pub fn run(root: &Path, check: bool) -> crate::Outcome {
    let folder = root.join("bindings/c");
    let config = cbindgen::Config::from_file(folder.join("cbindgen.toml"))?;
    let bindings = cbindgen::Builder::new()
        .with_crate(&folder)
        .with_config(config)
        .generate()
        .map_err(|e| format!("cbindgen cannot read bindings/c: {e}"))?;
    let mut text = Vec::new();
    bindings.write(&mut text);
    let text = String::from_utf8(text).map_err(|e| format!("cbindgen wrote no text: {e}"))?;
    let path = root.join(TARGET);
    let same = fs::read_to_string(&path).is_ok_and(|old| old == text);
    match (same, check) {
        (true, _) => {
            println!("gen: {TARGET} is what bindings/c says");
            Ok(())
        }
        (false, true) => Err(format!("{TARGET} is stale; 'cargo xtask gen' writes it anew")),
        (false, false) => {
            fs::write(&path, text).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
            println!("gen: {TARGET} written");
            Ok(())
        }
    }
}
