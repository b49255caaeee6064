//! Finds or installs what the other commands need: jars, a Python environment, Node and Go modules, kcat.
//!
//! Everything lands in target/xtask (Node's modules beside their package.json, where node looks for them) and is stamped with
//! what it was made from, so that a second call costs nothing. It says what it does in one line each; what it cannot get is
//! one sentence. Registries are whatever the user's mvn, pip, npm and go are set up with.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::{env, fs};

/// The newest clients and tools of Apache Kafka that are tested, and the oldest.
pub const KAFKA_CLIENTS: [&str; 2] = ["4.3.1", "2.8.2"];
/// The broker that everything is compared with.
pub const KAFKA_BROKER: &str = "4.4.0";

/// The workspace root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// Cargo's target folder.
pub fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// A folder for what xtask installs, builds and logs.
pub fn scratch(name: &str) -> Result<PathBuf, String> {
    let dir = target().join("xtask").join(name);
    fs::create_dir_all(&dir).map_err(|e| format!("cannot create {}: {e}", dir.display()))?;
    Ok(dir)
}

/// The release binary `ottla`, built if anything changed.
pub fn ottla() -> Result<PathBuf, String> {
    built("ottla-cli", "ottla")
}

/// The C library, libottla.so with libottla.a beside it, built if anything changed.
pub fn c_library() -> Result<PathBuf, String> {
    built("ottla-c", "libottla.so")
}

/// The program with a broker inside of examples/rust, built if anything changed.
pub fn embedded_broker() -> Result<PathBuf, String> {
    built("ottla-examples", "embedded_broker")
}

/// The demo's members of a group that are written in Rust.
pub fn flights_consumer() -> Result<PathBuf, String> {
    built("ottla-examples", "flights_consumer")
}

/// The program that plays the scenarios of tests/conformance; its driver program lies beside it.
pub fn conformance() -> Result<PathBuf, String> {
    built("ottla-conformance", "ottla-conformance")
}

/// The program of tests/conformance that needs several brokers.
pub fn cluster() -> Result<PathBuf, String> {
    built("ottla-conformance", "ottla-cluster")
}

/// The Rust member of the mixed groups.
pub fn mixed_member() -> Result<PathBuf, String> {
    built("ottla-conformance", "ottla-mixed-member")
}

/// The program of tests/security.
pub fn security() -> Result<PathBuf, String> {
    built("ottla-security", "ottla-security")
}

fn built(package: &str, binary: &str) -> Result<PathBuf, String> {
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--quiet", "--release", "--package", package]).current_dir(root());
    run(&mut cargo, &format!("build {binary}"))?;
    let path = target().join("release").join(binary);
    if path.exists() { Ok(path) } else { Err(format!("the build left no {}", path.display())) }
}

/// The class path of the jars that a pom names, copied once per version.
pub fn jars(pom: &str, version: &str, name: &str) -> Result<String, String> {
    let (pom, dir) = (root().join(pom), scratch(&format!("{name}-{version}"))?);
    stamped(&dir, &[&pom], version, || {
        need("mvn", "Maven (apt-get install maven)")?;
        println!("fetching the jars of {name} {version} from Maven Central");
        let mut mvn = Command::new("mvn");
        mvn.args(["-q", "-B", "-f"]).arg(&pom).arg("dependency:copy-dependencies").arg("-DincludeScope=runtime");
        mvn.arg(format!("-Dkafka.version={version}")).arg(format!("-DoutputDirectory={}", dir.display()));
        run(&mut mvn, "fetch jars with Maven")
    })?;
    Ok(format!("{}/*", dir.display()))
}

/// The jars of an Apache Kafka broker.
pub fn kafka_broker() -> Result<String, String> {
    jars("bench/kafka/pom.xml", KAFKA_BROKER, "kafka")
}

/// The jars of Apache Kafka's command line tools.
pub fn kafka_tools() -> Result<String, String> {
    jars("tests/interop/java/tools-pom.xml", KAFKA_CLIENTS[0], "kafka-tools")
}

/// Java sources compiled against the jars of a pom; the class path of both.
pub fn java(sources: &str, pom: &str, version: &str, name: &str) -> Result<String, String> {
    let libraries = jars(pom, version, &format!("{name}-jars"))?;
    let (sources, classes) = (files(&root().join(sources), "java")?, scratch(&format!("{name}-{version}"))?);
    stamped(&classes, &sources.iter().map(PathBuf::as_path).collect::<Vec<_>>(), version, || {
        need("javac", "a JDK, 17 or newer (apt-get install openjdk-17-jdk-headless)")?;
        println!("compiling {name} against kafka-clients {version}");
        let mut javac = Command::new("javac");
        javac.args(["-nowarn", "-Xlint:none", "-d"]).arg(&classes).args(["-cp", &libraries]).args(&sources);
        run(&mut javac, "compile Java sources")
    })?;
    Ok(format!("{}:{libraries}", classes.display()))
}

/// A Java command with the flags that make short programs quick.
pub fn java_command(class_path: &str, class: &str) -> Command {
    let mut java = Command::new("java");
    java.args([
        "-Xmx256m",
        "-XX:TieredStopAtLevel=1",
        "-XX:+UseSerialGC",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
    ]);
    java.args(["-cp", class_path, class]);
    java
}

/// The interpreter of a virtual environment with the Python clients.
pub fn python() -> Result<PathBuf, String> {
    let (requirements, dir) = (root().join("tests/interop/python/requirements.txt"), scratch("venv")?);
    stamped(&dir, &[&requirements], "", || {
        need("python3", "Python 3.10 or newer with venv (apt-get install python3-venv)")?;
        println!("making a Python environment with confluent-kafka and aiokafka");
        run(
            Command::new("python3").args(["-m", "venv", "--clear"]).arg(&dir),
            "make a Python environment (apt-get install python3-venv)",
        )?;
        let mut pip = Command::new(dir.join("bin/python"));
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]).arg(&requirements);
        run(&mut pip, "install the Python clients with pip")
    })?;
    Ok(dir.join("bin/python"))
}

/// Installs the modules of a folder with a package-lock.json.
pub fn node(folder: &str) -> Result<PathBuf, String> {
    let folder = root().join(folder);
    let modules = folder.join("node_modules");
    stamped(&modules, &[&folder.join("package-lock.json")], "", || {
        need("npm", "Node.js 20 or newer with npm")?;
        println!("installing the Node modules of {}", folder.display());
        run(
            Command::new("npm").args(["ci", "--silent", "--ignore-scripts"]).current_dir(&folder),
            "install Node modules with npm ci",
        )
    })?;
    Ok(folder)
}

/// The Go program of tests/interop, built.
pub fn go() -> Result<PathBuf, String> {
    let (folder, dir) = (root().join("tests/interop/go"), scratch("go")?);
    let mut sources = files(&folder, "go")?;
    sources.push(folder.join("go.sum"));
    stamped(&dir, &sources.iter().map(PathBuf::as_path).collect::<Vec<_>>(), "", || {
        need("go", "Go 1.26 or newer")?;
        println!("building the franz-go programs");
        run(
            Command::new("go").args(["build", "-o"]).arg(dir.join("interop")).arg(".").current_dir(&folder),
            "build Go programs",
        )
    })?;
    Ok(dir.join("interop"))
}

/// kcat, which Debian also knows as kafkacat; installed where we may.
pub fn kcat() -> Result<PathBuf, String> {
    let _one_at_a_time = INSTALL.lock();
    for name in ["kcat", "kafkacat"] {
        if let Some(path) = find(name) {
            return Ok(path);
        }
    }
    apt("kcat")?;
    find("kcat").ok_or_else(|| "kcat is missing; apt-get install kcat brings it".to_owned())
}

/// pkg-config, with which C programs find the library.
pub fn pkg_config() -> Result<(), String> {
    let _one_at_a_time = INSTALL.lock();
    if find("pkg-config").is_none() {
        apt("pkg-config")?;
    }
    find("pkg-config").map(drop).ok_or_else(|| "pkg-config is missing; apt-get install pkg-config brings it".to_owned())
}

/// Installs a package of Debian's, where we may.
fn apt(package: &str) -> Result<(), String> {
    if find("apt-get").is_none() || !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    println!("installing {package} with apt-get");
    run(Command::new("apt-get").args(["update", "-qq"]), "update apt's lists")?;
    run(
        Command::new("apt-get").args(["install", "-y", "-qq", package]).env("DEBIAN_FRONTEND", "noninteractive"),
        &format!("install {package}"),
    )
}

/// The path of a program.
pub fn find(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|dir| dir.join(program)).find(|path| path.is_file())
}

fn need(program: &str, what: &str) -> Result<(), String> {
    find(program).map(drop).ok_or_else(|| format!("{program} is missing; install {what}"))
}

/// Runs to the end; a failure is a sentence with the end of what the program printed.
pub fn run(command: &mut Command, what: &str) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().map_err(|e| format!("cannot {what}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Err(format!("cannot {what}: {}\n{}", output.status, tail(&text, 40)))
}

/// The last lines of a text.
pub fn tail(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

fn files(folder: &Path, extension: &str) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(folder).map_err(|e| format!("cannot read {}: {e}", folder.display()))?;
    let mut found: Vec<PathBuf> =
        entries.flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == extension)).collect();
    found.sort();
    Ok(found)
}

/// Held while something is installed: suites that run beside each other share what they need.
static INSTALL: Mutex<()> = Mutex::new(());

/// Makes `dir` once for these input files and this version: the stamp in it is written after `make` succeeded.
fn stamped(
    dir: &Path,
    inputs: &[&Path],
    version: &str,
    make: impl FnOnce() -> Result<(), String>,
) -> Result<(), String> {
    let _one_at_a_time = INSTALL.lock();
    let mut hasher = DefaultHasher::new();
    version.hash(&mut hasher);
    for input in inputs {
        fs::read(input).map_err(|e| format!("cannot read {}: {e}", input.display()))?.hash(&mut hasher);
    }
    let (stamp, wanted) = (dir.join(".stamp"), format!("{:016x}\n", hasher.finish()));
    if fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        return Ok(());
    }
    make()?;
    fs::write(&stamp, wanted).map_err(|e| format!("cannot write {}: {e}", stamp.display()))
}
