//! The cases of tests/security: one Apache Kafka with a listener for each way of being secure, keys made by keytool and openssl.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::broker::{Engine, Home, free_port};
use super::interop::log_file;
use super::process::run;
use super::{Case, Request};
use crate::tools;

const STORE: &str = "store-secret";

/// Tokens that no one signed: of alice until 2100, of alice until 2023, and one that claims a signature.
const TOKENS: [(&str, &str); 3] = [
    ("token", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSIsImlhdCI6MTcwMDAwMDAwMCwiZXhwIjo0MTAyNDQ0ODAwfQ."),
    ("old-token", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSIsImlhdCI6MTcwMDAwMDAwMCwiZXhwIjoxNzAwMDAwMTAwfQ."),
    ("signed-token", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSIsImlhdCI6MTcwMDAwMDAwMCwiZXhwIjo0MTAyNDQ0ODAwfQ.c2ln"),
];

pub fn run_all(request: &Request) -> Vec<Case> {
    let mut cases = Vec::new();
    if let Err(error) = play(request, &mut cases) {
        cases.push(Case::failed("security", error));
    }
    cases
}

fn play(request: &Request, cases: &mut Vec<Case>) -> Result<(), String> {
    let program = tools::security()?;
    let jars = tools::kafka_broker()?;
    let mut home = Home::new(&Engine::Kafka(jars.clone()), "security")?;
    home.engine = Engine::Kafka(format!("{}:{jars}", receiver(&home.dir, &jars)?));
    keys(&home.dir)?;
    let mut listeners = vec![("PLAINTEXT", home.bootstrap())];
    for name in ["SSL", "MUTUAL", "EXPIRED", "SASL_PLAINTEXT", "SASL_SSL"] {
        listeners.push((name, format!("127.0.0.1:{}", free_port()?)));
    }
    configure(&mut home, &listeners, free_port()?);
    let log = home.dir.join("telemetry.log");
    home.java.push(format!("-Dtelemetry.log={}", log.display()));
    let _broker = home.start()?;
    let log = log_file("security")?;
    let mut command = Command::new(program);
    command.arg(&home.dir).args(listeners.iter().map(|(name, address)| format!("{name}={address}")));
    command.args(&request.filter);
    let finished = run(&mut command, Duration::from_secs(300), &log)?;
    let mut seen = BTreeSet::new();
    for line in finished.output.lines() {
        let mut words = line.splitn(3, ' ');
        match (words.next(), words.next(), words.next()) {
            (Some("ok"), Some(name), _) => {
                seen.insert(name);
                cases.push(Case::passed(name));
            }
            (Some("FAIL"), Some(name), reason) => {
                seen.insert(name);
                cases.push(Case::failed(name, reason.unwrap_or("it did not say why")));
            }
            _ => println!("{line}"),
        }
    }
    if seen.is_empty() || (finished.code != Some(0) && cases.iter().all(|case| case.outcome.is_ok())) {
        let text = fs::read_to_string(&log).unwrap_or_default();
        return Err(format!("the program ended with {:?}:\n{}", finished.code, tools::tail(&text, 20)));
    }
    Ok(())
}

/// Later lines replace what a home says by itself.
fn configure(home: &mut Home, listeners: &[(&str, String)], controller: u16) {
    let dir = home.dir.display().to_string();
    let all: Vec<String> = listeners.iter().map(|(name, address)| format!("{name}://{address}")).collect();
    let oauth = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required \
                 unsecuredLoginStringClaim_sub=\"broker\";";
    // The file is Latin-1: what lies outside of ASCII is escaped, and so is a backslash.
    let plain = "org.apache.kafka.common.security.plain.PlainLoginModule required user_alice=\"alice-secret\" \
                 user_zo\\u00eb=\"p\\u00e4;\\u00df=\\\\\"-secret\";";
    let scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;";
    home.overrides.extend([
        format!("listeners={},CONTROLLER://127.0.0.1:{controller}", all.join(",")),
        format!("controller.quorum.voters=1@127.0.0.1:{controller}"),
        "inter.broker.listener.name=PLAINTEXT".to_owned(),
        "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SSL:SSL,MUTUAL:SSL,EXPIRED:SSL,\
         SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT"
            .to_owned(),
        format!("ssl.keystore.location={dir}/broker.p12\nssl.keystore.password={STORE}\nssl.key.password={STORE}"),
        format!("ssl.truststore.location={dir}/client-trust.p12\nssl.truststore.password={STORE}"),
        "ssl.keystore.type=PKCS12\nssl.truststore.type=PKCS12".to_owned(),
        "listener.name.mutual.ssl.client.auth=required\nlistener.name.mutual.ssl.enabled.protocols=TLSv1.3".to_owned(),
        format!("listener.name.expired.ssl.keystore.location={dir}/expired.p12"),
        format!("listener.name.expired.ssl.keystore.password={STORE}\nlistener.name.expired.ssl.key.password={STORE}"),
        "sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER".to_owned(),
        "listener.name.sasl_ssl.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512".to_owned(),
        format!("listener.name.sasl_plaintext.oauthbearer.sasl.jaas.config={oauth}"),
        "num.partitions=1\nmetric.reporters=Receiver".to_owned(),
    ]);
    for listener in ["sasl_plaintext", "sasl_ssl"] {
        home.overrides.push(format!("listener.name.{listener}.plain.sasl.jaas.config={plain}"));
        for size in ["256", "512"] {
            home.overrides.push(format!("listener.name.{listener}.scram-sha-{size}.sasl.jaas.config={scram}"));
        }
    }
    for mechanism in ["plain", "scram-sha-256"] {
        home.overrides.push(format!("listener.name.sasl_ssl.{mechanism}.connections.max.reauth.ms=3000"));
    }
    for size in ["256", "512"] {
        let user = format!("SCRAM-SHA-{size}=[name=alice,password=alice-secret]");
        home.format.extend(["--add-scram".to_owned(), user]);
    }
}

/// Compiles the broker's plugin that takes metrics; the folder of its class.
pub fn receiver(dir: &Path, jars: &str) -> Result<String, String> {
    let classes = dir.join("classes");
    let mut javac = Command::new("javac");
    javac
        .args(["-nowarn", "-cp", jars, "-d"])
        .arg(&classes)
        .arg(tools::root().join("tests/security/java/Receiver.java"));
    tools::run(&mut javac, "compile the receiver of metrics")?;
    Ok(classes.display().to_string())
}

/// The stores of the broker and of the clients, and the tokens.
fn keys(dir: &Path) -> Result<(), String> {
    let keytool = |store: &str, kind: &str, arguments: &[&str]| {
        let mut keytool = Command::new("keytool");
        keytool.args(["-storepass", STORE, "-storetype", kind, "-keystore"]).arg(dir.join(store));
        tools::run(keytool.args(arguments).current_dir(dir), "make a key store with keytool")
    };
    let pair = |store: &str, name: &str, more: &[&str]| {
        let arguments = ["-genkeypair", "-alias", "key", "-keyalg", "EC", "-groupname", "secp256r1", "-dname", name];
        keytool(store, "PKCS12", &[&arguments[..], more].concat())
    };
    let address = ["-ext", "SAN=ip:127.0.0.1"];
    pair("broker.p12", "CN=broker", &[&address[..], &["-validity", "3650"]].concat())?;
    pair("expired.p12", "CN=expired", &[&address[..], &["-startdate", "-10d", "-validity", "5"]].concat())?;
    pair("client.p12", "CN=client", &["-validity", "3650"])?;
    pair("stranger.p12", "CN=stranger", &["-validity", "3650"])?;
    let mut trusted = String::new();
    for name in ["broker", "expired", "client"] {
        let pem = format!("{name}.pem");
        keytool(&format!("{name}.p12"), "PKCS12", &["-exportcert", "-rfc", "-alias", "key", "-file", &pem])?;
        if name != "client" {
            trusted += &fs::read_to_string(dir.join(&pem)).map_err(|e| format!("cannot read {pem}: {e}"))?;
        }
    }
    let import = |pem| ["-importcert", "-noprompt", "-alias", "trusted", "-file", pem];
    keytool("trust.p12", "PKCS12", &import("broker.pem"))?;
    keytool("trust.jks", "JKS", &import("broker.pem"))?;
    keytool("client-trust.p12", "PKCS12", &import("client.pem"))?;
    let from = ["-importkeystore", "-noprompt", "-srckeystore", "client.p12", "-srcstorepass", STORE];
    let mut convert = Command::new("keytool");
    convert.args(from).args(["-destkeystore", "client.jks", "-deststoretype", "JKS", "-deststorepass", STORE]);
    tools::run(convert.current_dir(dir), "make a JKS store with keytool")?;
    let passwords = [format!("pass:{STORE}"), "pass:key-secret".to_owned()];
    let mut openssl = Command::new("openssl");
    openssl.args(["pkcs12", "-in", "client.p12", "-out", "client-key.pem"]);
    openssl.args(["-passin", &passwords[0], "-passout", &passwords[1]]);
    tools::run(openssl.current_dir(dir), "encrypt a key with openssl")?;
    let write =
        |name: &str, text: &str| fs::write(dir.join(name), text).map_err(|e| format!("cannot write {name}: {e}"));
    write("trust.pem", &trusted)?;
    TOKENS.iter().try_for_each(|(name, token)| write(name, token))
}
