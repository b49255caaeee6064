//! `cargo xtask install --prefix DIR`: the C library, its header and pkg-config file, and the binary `ottla`, where a C program
//! looks for them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::tools;

const USAGE: &str = "\
cargo xtask install [--prefix DIR]

  --prefix DIR   where to: bin/ottla, include/ottla.h, lib/libottla.so and .a, lib/pkgconfig/ottla.pc; /usr/local unless given

example
  cargo xtask install --prefix ~/.local
  PKG_CONFIG_PATH=~/.local/lib/pkgconfig cc program.c $(pkg-config --cflags --libs ottla)
";

/// What a program needs besides libottla.a when it is linked statically.
const PRIVATE: &str = "-lgcc_s -lutil -lrt -lpthread -lm -ldl -lc";

pub fn run(args: &[String]) -> crate::Outcome {
    let prefix = match args {
        [] => PathBuf::from("/usr/local"),
        [flag, prefix] if flag == "--prefix" => PathBuf::from(prefix),
        _ => {
            print!("{USAGE}");
            let help = args.first().is_some_and(|arg| arg == "--help" || arg == "-h");
            return if help { Ok(()) } else { Err("install takes no argument but --prefix DIR".to_owned()) };
        }
    };
    let prefix = std::path::absolute(&prefix).map_err(|e| format!("{}: {e}", prefix.display()))?;
    into(&prefix)?;
    println!("installed into {}", prefix.display());
    let pkgconfig = prefix.join("lib/pkgconfig");
    println!("  PKG_CONFIG_PATH={} cc program.c $(pkg-config --cflags --libs ottla)", pkgconfig.display());
    Ok(())
}

/// Builds what is missing and puts it all in place.
pub fn into(prefix: &Path) -> crate::Outcome {
    let binary = tools::ottla()?;
    let library = tools::c_library()?;
    let version = env!("CARGO_PKG_VERSION");
    let major = version.split('.').next().unwrap_or("0");
    copy(&binary, &prefix.join("bin/ottla"))?;
    copy(&tools::root().join("bindings/c/include/ottla.h"), &prefix.join("include/ottla.h"))?;
    let lib = prefix.join("lib");
    copy(&library.with_extension("a"), &lib.join("libottla.a"))?;
    let real = format!("libottla.so.{version}");
    copy(&library, &lib.join(&real))?;
    for name in [format!("libottla.so.{major}"), "libottla.so".to_owned()] {
        let link = lib.join(name);
        fs::remove_file(&link).ok();
        symlink(&real, &link).map_err(|e| format!("cannot link {}: {e}", link.display()))?;
    }
    let text = format!(
        "prefix={}\nincludedir=${{prefix}}/include\nlibdir=${{prefix}}/lib\n\nName: ottla\nDescription: Kafka as a library\n\
         Version: {version}\nCflags: -I${{includedir}}\nLibs: -L${{libdir}} -lottla\nLibs.private: {PRIVATE}\n",
        prefix.display()
    );
    let file = lib.join("pkgconfig/ottla.pc");
    folder_of(&file)?;
    fs::write(&file, text).map_err(|e| format!("cannot write {}: {e}", file.display()))
}

fn folder_of(file: &Path) -> crate::Outcome {
    let folder = file.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder)
        .map_err(|e| format!("cannot create {}: {e}; --prefix names a folder that you may write to", folder.display()))
}

fn copy(from: &Path, to: &Path) -> crate::Outcome {
    folder_of(to)?;
    // A program that runs keeps the old file; writing into it would end in SIGBUS there.
    fs::remove_file(to).ok();
    fs::copy(from, to).map(drop).map_err(|e| format!("cannot copy {} to {}: {e}", from.display(), to.display()))
}
