//! The scenarios of tests/conformance: one Apache Kafka for all of them, with a listener for each way of logging in, beside
//! the engine in process and over TCP. The program says what it ran; what it does not mention counts as failed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::broker::{Broker, Engine, Home, free_port};
use super::interop::log_file;
use super::process::{Finished, run};
use super::{Case, Request, security};
use crate::tools;

const PASSWORD: &str = "conformance";

/// The users of the SASL listener, as the scenarios know them: `admin` may do everything, `alice` nothing until she is told.
const USERS: [&str; 2] = ["admin", "alice"];

pub fn run_all(request: &Request) -> Vec<Case> {
    let mut cases = Vec::new();
    if let Err(error) = play(request, &mut cases) {
        cases.push(Case::failed("conformance", error));
    }
    cases
}

fn play(request: &Request, cases: &mut Vec<Case>) -> Result<(), String> {
    let program = tools::conformance()?;
    let kafka = Kafka::start()?;
    let log = log_file("conformance")?;
    let mut command = Command::new(program);
    for address in &kafka.addresses {
        command.args(["--kafka", address]);
    }
    command.arg("--tls-ca").arg(&kafka.certificate).args(["--seeds", if request.full { "50" } else { "5" }]);
    command.args(&request.filter);
    let limit = Duration::from_secs(if request.full { 3600 } else { 900 });
    let finished = run(&mut command, limit, &log)?;
    take_in(&finished, &log, cases)
}

/// What a program printed: `plan NAME` for what is to come, then `ok NAME` or `FAIL NAME REASON` for each.
pub fn take_in(finished: &Finished, log: &Path, cases: &mut Vec<Case>) -> Result<(), String> {
    let (mut planned, mut seen) = (BTreeSet::new(), BTreeSet::new());
    for line in finished.output.lines() {
        let mut words = line.splitn(3, ' ');
        match (words.next(), words.next(), words.next()) {
            (Some("plan"), Some(name), _) => {
                planned.insert(name);
            }
            (Some("ok"), Some(name), _) => {
                seen.insert(name);
                cases.push(Case::passed(name));
            }
            (Some("FAIL"), Some(name), reason) => {
                seen.insert(name);
                cases.push(Case::failed(name, reason.unwrap_or("it did not say why")));
            }
            // The table of who has what.
            _ => println!("{line}"),
        }
    }
    cases.extend(planned.difference(&seen).map(|name| Case::failed(name, "it did not run")));
    if finished.code != Some(0) && cases.iter().all(|case| case.outcome.is_ok()) {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        return Err(format!("the program ended with {:?}:\n{}", finished.code, tools::tail(&text, 20)));
    }
    Ok(())
}

/// Apache Kafka with PLAINTEXT, SASL_PLAINTEXT and SSL listeners and the authorizer.
#[derive(Debug)]
struct Kafka {
    addresses: Vec<String>,
    certificate: PathBuf,
    /// Killed when this is dropped.
    _broker: Broker,
}

impl Kafka {
    fn start() -> Result<Kafka, String> {
        let jars = tools::kafka_broker()?;
        let mut home = Home::new(&Engine::Kafka(jars.clone()), "conformance")?;
        // With somebody who takes clients' metrics it serves the APIs for them.
        home.engine = Engine::Kafka(format!("{}:{jars}", security::receiver(&home.dir, &jars)?));
        home.java.push(format!("-Dtelemetry.log={}", home.dir.join("telemetry.log").display()));
        let (keys, certificate) = keys(&home.dir)?;
        let (controller, sasl, tls) = (free_port()?, free_port()?, free_port()?);
        let plain = home.bootstrap();
        let users: Vec<String> = USERS.iter().map(|user| format!("user_{user}=\"{user}-secret\"")).collect();
        // Later lines replace what a home says by itself.
        home.overrides.extend([
            format!(
                "listeners=PLAINTEXT://{plain},SASL_PLAINTEXT://127.0.0.1:{sasl},SSL://127.0.0.1:{tls},\
                 CONTROLLER://127.0.0.1:{controller}"
            ),
            format!("controller.quorum.voters=1@127.0.0.1:{controller}"),
            "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,SSL:SSL,CONTROLLER:PLAINTEXT"
                .to_owned(),
            "sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512".to_owned(),
            format!(
                "listener.name.sasl_plaintext.plain.sasl.jaas.config=\
                 org.apache.kafka.common.security.plain.PlainLoginModule required {};",
                users.join(" ")
            ),
            scram("256"),
            scram("512"),
            format!("ssl.keystore.location={}", keys.display()),
            format!("ssl.keystore.password={PASSWORD}\nssl.keystore.type=PKCS12\nssl.key.password={PASSWORD}"),
            "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer".to_owned(),
            "super.users=User:ANONYMOUS;User:admin".to_owned(),
            "delegation.token.secret.key=conformance\nmetric.reporters=Receiver".to_owned(),
            "num.partitions=1\ngroup.min.session.timeout.ms=100\ngroup.consumer.min.heartbeat.interval.ms=100".to_owned(),
            "group.consumer.heartbeat.interval.ms=300\ngroup.consumer.min.session.timeout.ms=1000".to_owned(),
            "transaction.abort.timed.out.transaction.cleanup.interval.ms=500".to_owned(),
        ]);
        let broker = home.start()?;
        let addresses = vec![
            format!("PLAINTEXT://{plain}"),
            format!("SASL_PLAINTEXT://127.0.0.1:{sasl}"),
            format!("SSL://127.0.0.1:{tls}"),
        ];
        Ok(Kafka { addresses, certificate, _broker: broker })
    }
}

fn scram(size: &str) -> String {
    format!(
        "listener.name.sasl_plaintext.scram-sha-{size}.sasl.jaas.config=\
         org.apache.kafka.common.security.scram.ScramLoginModule required;"
    )
}

/// A key store with a certificate for 127.0.0.1 and localhost, and the certificate as PEM.
fn keys(dir: &Path) -> Result<(PathBuf, PathBuf), String> {
    let (keys, certificate) = (dir.join("broker.p12"), dir.join("broker.pem"));
    let keytool = || {
        let mut keytool = Command::new("keytool");
        keytool.args(["-storetype", "PKCS12", "-storepass", PASSWORD, "-alias", "broker", "-keystore"]).arg(&keys);
        keytool
    };
    let mut generate = keytool();
    generate.args(["-genkeypair", "-keyalg", "EC", "-groupname", "secp256r1", "-dname", "CN=localhost"]);
    tools::run(
        generate.args(["-validity", "3650", "-ext", "SAN=dns:localhost,ip:127.0.0.1"]),
        "make a key with keytool",
    )?;
    tools::run(
        keytool().args(["-exportcert", "-rfc", "-file"]).arg(&certificate),
        "export a certificate with keytool",
    )?;
    Ok((keys, certificate))
}
