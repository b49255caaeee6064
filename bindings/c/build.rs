//! The shared library's name for the loader: programs that were linked against 0.x ask for that one.

fn main() {
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libottla.so.0");
    }
    println!("cargo:rerun-if-changed=build.rs");
}
