//! The peer: Apache Kafka's own jars from Maven Central, formatted and started as a combined KRaft node.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

pub const VERSION: &str = "4.4.0";

/// Any fixed id will do: each directory is formatted once and thrown away.
const CLUSTER_ID: &str = "MkU3OEVBNTcwNTJENDM2Qk";

/// Copies the broker's jars into the target folder, once, and returns that folder.
///
/// # Errors
/// A sentence, when Maven is missing or cannot fetch them.
pub fn jars(root: &Path, target: &Path) -> Result<PathBuf, String> {
    let dir = target.join("xtask").join(format!("kafka-{VERSION}"));
    let complete = dir.join(".complete");
    if complete.exists() {
        return Ok(dir);
    }
    println!("fetching Apache Kafka {VERSION} from Maven Central");
    let output = Command::new("mvn")
        .args(["-q", "-f"])
        .arg(root.join("bench/kafka/pom.xml"))
        .arg("dependency:copy-dependencies")
        .arg("-DincludeScope=runtime")
        .arg(format!("-DoutputDirectory={}", dir.display()))
        .output()
        .map_err(|e| format!("cannot run mvn: {e}; install Maven, or use --peer none"))?;
    if !output.status.success() {
        return Err(format!("Maven could not fetch Apache Kafka's jars:\n{}", String::from_utf8_lossy(&output.stdout)));
    }
    fs::write(&complete, "").map_err(|e| format!("cannot write {}: {e}", complete.display()))?;
    Ok(dir)
}

/// Writes server.properties for a single node into `dir` and formats its storage, unless that was done before.
///
/// # Errors
/// What Apache Kafka's storage tool said.
pub fn format(jars: &Path, dir: &Path, port: u16, controller_port: u16) -> Result<PathBuf, String> {
    let properties = dir.join("server.properties");
    let logs = dir.join("logs");
    let text = format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.voters=1@127.0.0.1:{controller_port}\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
         inter.broker.listener.name=PLAINTEXT\n\
         controller.listener.names=CONTROLLER\n\
         log.dirs={}\n\
         offsets.topic.replication.factor=1\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n\
         share.coordinator.state.topic.replication.factor=1\n\
         share.coordinator.state.topic.min.isr=1\n\
         group.initial.rebalance.delay.ms=0\n",
        logs.display()
    );
    fs::write(&properties, text).map_err(|e| format!("cannot write {}: {e}", properties.display()))?;
    if logs.join("meta.properties").exists() {
        return Ok(properties);
    }
    let output = Command::new("java")
        .args(["-Xmx256m", "-cp", &format!("{}/*", jars.display())])
        .args(["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c"])
        .arg(&properties)
        .output()
        .map_err(|e| format!("cannot run java: {e}; install a JDK (17 or newer), or use --peer none"))?;
    if !output.status.success() {
        return Err(format!("Apache Kafka's storage tool failed:\n{}", String::from_utf8_lossy(&output.stderr)));
    }
    Ok(properties)
}

/// The command that runs the broker, with the heap and collector of kafka-server-start.
pub fn command(jars: &Path, log4j: &Path, properties: &Path) -> Command {
    let mut command = Command::new("java");
    command
        .args(["-Xmx1G", "-Xms1G", "-XX:+UseG1GC"])
        .arg(format!("-Dlog4j2.configurationFile={}", log4j.display()))
        .args(["-cp", &format!("{}/*", jars.display()), "kafka.Kafka"])
        .arg(properties);
    command
}
