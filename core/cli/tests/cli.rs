//! The binary against a broker in this process.
//!
//! Goal: what a person types does what its help says, with results on stdout, the rest on stderr, and exit codes that scripts
//! can go by. Method: `ottla` as a child process for each command, its JSON read back.

use ottla::Broker;
use serde_json::Value;
use std::io::Write;
use std::process::{Command, Output, Stdio};

struct Cluster {
    broker: Broker,
    runtime: tokio::runtime::Runtime,
}

impl Cluster {
    fn new() -> Cluster {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
        let builder = Broker::builder().listener("PLAINTEXT://127.0.0.1:0");
        let broker = runtime.block_on(builder.start()).expect("a broker in memory starts");
        Cluster { broker, runtime }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ottla"));
        command.args(args).args(["--bootstrap-server", &self.broker.bootstrap_servers()]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("the binary runs")
    }

    /// What it printed, of a command that succeeds.
    fn text(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        String::from_utf8(output.stdout).expect("text")
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.text(args)).expect("JSON")
    }

    fn feed(&self, args: &[&str], input: &[u8]) -> Output {
        let mut child = self.command(args).stdin(Stdio::piped()).spawn().expect("the binary runs");
        child.stdin.take().expect("piped").write_all(input).expect("it reads");
        child.wait_with_output().expect("it ends")
    }

    fn close(self) {
        self.runtime.block_on(self.broker.close()).expect("closes");
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn records_go_in_and_come_out() {
    let cluster = Cluster::new();
    cluster.text(&["topic", "create", "t", "--partitions", "2"]);
    let sent = cluster.feed(&["produce", "t", "-K", ":", "-p", "0", "-H", "h=x", "--json"], b"a:1\nb:2\nplain\r\n\n");
    assert!(sent.status.success(), "{}", stderr(&sent));
    let told: Value = serde_json::from_slice(&sent.stdout).expect("JSON");
    assert_eq!((&told["records"], &told["failed"]), (&Value::from(4), &Value::from(0)));

    let all = ["consume", "t", "--from-beginning", "--exit-at-end"];
    let with = |more: &[&str]| cluster.text(&[&all, more].concat());
    assert_eq!(
        with(&["--format", "%p/%o %k=%v %h\\n"]),
        "0/0 a=1 h:x\n0/1 b=2 h:x\n0/2 null=plain h:x\n0/3 null= h:x\n"
    );
    assert_eq!(with(&["--key", "b"]), "2\n");
    assert_eq!(with(&["--key-regex", "^[ab]$", "-n", "1"]), "1\n");
    assert_eq!(with(&["--partition", "1"]), "");
    assert_eq!(with(&["--binary", "hex", "--key", "a"]), "31\n");
    assert_eq!(cluster.text(&["consume", "t", "-e", "--offset", "-1"]), "\n");
    assert_eq!(cluster.text(&["consume", "t", "-e", "-p", "0", "--offset", "2"]), "plain\n\n");

    // What consume prints as JSON, produce reads: headers, partition and timestamp too.
    cluster.text(&["topic", "create", "copy", "--partitions", "2"]);
    let lines = with(&["--json"]);
    assert_eq!(lines.lines().count(), 4);
    assert!(cluster.feed(&["produce", "copy", "--format", "json"], lines.as_bytes()).status.success());
    let copied = cluster.text(&["consume", "copy", "--from-beginning", "-e", "--json"]);
    assert_eq!(copied, lines.replace("\"topic\":\"t\"", "\"topic\":\"copy\""));
    cluster.close();
}

#[test]
fn records_by_time() {
    let cluster = Cluster::new();
    cluster.text(&["topic", "create", "t", "--config", "retention.ms=-1"]);
    let lines = (0..5).map(|i| format!("{{\"value\":\"v{i}\",\"timestamp\":{}}}\n", i * 1000)).collect::<String>();
    assert!(cluster.feed(&["produce", "t", "--format", "json"], lines.as_bytes()).status.success());
    let text = cluster.text(&["consume", "t", "--from-time", "1000", "--to-time", "1970-01-01T00:00:03Z"]);
    assert_eq!(text, "v1\nv2\n");
    assert_eq!(
        cluster.text(&["consume", "t", "--from-time", "4000", "-e", "--format", "%D"]),
        "1970-01-01T00:00:04.000Z"
    );
    cluster.close();
}

#[test]
fn what_is_wrong_is_told_with_its_line() {
    let cluster = Cluster::new();
    cluster.text(&["topic", "create", "t"]);
    let stopped = cluster.feed(&["produce", "t", "--format", "json"], b"{\"value\":1}\nnonsense\n{\"value\":2}\n");
    assert_eq!(stopped.status.code(), Some(1));
    assert!(stderr(&stopped).contains("line 2: not JSON"), "{}", stderr(&stopped));
    let args = ["produce", "t", "--format", "json", "--ignore-errors", "--json"];
    let went_on = cluster.feed(&args, b"nonsense\n{\"value\":2}\n");
    assert_eq!(went_on.status.code(), Some(1));
    let told: Value = serde_json::from_slice(&went_on.stdout).expect("JSON");
    assert_eq!((&told["records"], &told["failed"]), (&Value::from(1), &Value::from(1)));
    assert_eq!(cluster.text(&["consume", "t", "--from-beginning", "-e"]), "1\n2\n");

    let large = [&[b'x'; 2_000_000][..], b"\nsmall\n"].concat();
    let refused = cluster.feed(&["produce", "t"], &large);
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("line 1: "), "{}", stderr(&refused));
    assert_eq!(cluster.text(&["consume", "t", "--offset", "-1", "-e"]), "small\n");

    let usage = cluster.run(&["produce", "t", "--producer-property", "acks=maybe"]);
    assert_eq!(usage.status.code(), Some(2), "{}", stderr(&usage));
    let missing = cluster.run(&["consume", "no", "-e"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(stderr(&missing).contains("ottla topic list"), "{}", stderr(&missing));
    let idle = cluster.run(&["consume", "t", "--idle-ms", "100", "-n", "5"]);
    assert_eq!(idle.status.code(), Some(3), "{}", stderr(&idle));
    let elsewhere = cluster.run(&["consume", "t", "--partition", "7"]);
    assert!(stderr(&elsewhere).contains("no partition 7"), "{}", stderr(&elsewhere));
    cluster.close();
}

#[test]
fn a_group_reads_commits_and_is_reset() {
    let cluster = Cluster::new();
    cluster.text(&["topic", "create", "t", "--partitions", "2"]);
    assert!(cluster.feed(&["produce", "t", "-p", "0"], b"1\n2\n3\n4\n").status.success());
    let read = ["consume", "t", "--group", "g", "--from-beginning", "-n"];
    assert_eq!(cluster.text(&[&read[..], &["3"]].concat()), "1\n2\n3\n");
    // What was printed was committed, and nothing else.
    assert_eq!(cluster.text(&[&read[..], &["1"]].concat()), "4\n");

    let groups = cluster.json(&["group", "list", "--json"]);
    assert_eq!((&groups[0]["group"], &groups[0]["state"]), (&Value::from("g"), &Value::from("Empty")));
    let described = cluster.json(&["group", "describe", "g", "--json"]);
    assert_eq!(described[0]["partitions"][0]["committed"], 4);
    assert_eq!(described[0]["lag"], 0);
    assert!(cluster.text(&["group", "describe", "g"]).starts_with("g (classic): Empty, 0 members"));

    let new = |args: &[&str]| {
        let all = [&["group", "reset-offsets", "g", "--json", "--topic", "t:0"], args].concat();
        cluster.json(&all)[0]["new"].as_i64().expect("an offset")
    };
    assert_eq!(new(&["--to-earliest"]), 0);
    assert_eq!(new(&["--to-latest"]), 4);
    assert_eq!(new(&["--to-current"]), 4);
    assert_eq!(new(&["--shift-by", "-1"]), 3);
    assert_eq!(new(&["--to-offset", "99"]), 4, "no further than there are records");
    assert_eq!(new(&["--by-duration", "P1D"]), 0);
    assert_eq!(new(&["--to-datetime", "2100-01-01T00:00:00Z"]), 4);
    assert_eq!(cluster.json(&["group", "describe", "g", "--json"])[0]["lag"], 0, "nothing was done yet");
    let plan = cluster.text(&["group", "reset-offsets", "g", "--all-topics", "--shift-by", "-2", "--export"]);
    let file = std::env::temp_dir().join(format!("ottla-cli-{}.csv", std::process::id()));
    #[allow(clippy::disallowed_methods)] // A test's own file.
    std::fs::write(&file, &plan).expect("a temporary file");
    let path = file.to_string_lossy().into_owned();
    cluster.text(&["group", "reset-offsets", "g", "--from-file", &path, "--execute"]);
    #[allow(clippy::disallowed_methods)] // A test's own file.
    std::fs::remove_file(&file).expect("it is there");
    assert_eq!(cluster.text(&[&read[..], &["2"]].concat()), "3\n4\n");

    cluster.text(&["group", "delete-offsets", "g", "--topic", "t:0"]);
    cluster.text(&["group", "delete", "g"]);
    let gone = cluster.run(&["group", "describe", "g"]);
    assert_eq!(gone.status.code(), Some(1));
    assert!(stderr(&gone).contains("GROUP_ID_NOT_FOUND"), "{}", stderr(&gone));
    assert_eq!(cluster.text(&["group", "delete", "g", "--if-exists"]), "g absent\n");
    cluster.close();
}

#[test]
fn configs_are_shown_and_changed() {
    let cluster = Cluster::new();
    cluster.text(&["topic", "create", "t"]);
    assert_eq!(
        cluster.text(&["config", "describe", "topic", "t"]),
        "Nothing was set here; --all shows the defaults.\n"
    );
    let args = [
        "config",
        "alter",
        "topic",
        "t",
        "--add-config",
        "retention.ms=1000",
        "--append-config",
        "cleanup.policy=compact",
    ];
    assert_eq!(cluster.text(&[&args[..], &["--validate-only"]].concat()), "t valid\n");
    assert_eq!(cluster.text(&args), "t altered\n");
    let configs = cluster.json(&["config", "describe", "topic", "t", "--json"]);
    let set: Vec<(&str, &str)> = configs
        .as_array()
        .expect("a list")
        .iter()
        .map(|config| (config["name"].as_str().expect("text"), config["value"].as_str().expect("text")))
        .collect();
    assert_eq!(set, [("cleanup.policy", "delete,compact"), ("retention.ms", "1000")]);
    let wrong = cluster.run(&["config", "alter", "topic", "t", "--add-config", "retention.ms=soon"]);
    assert_eq!(wrong.status.code(), Some(1));
    assert_eq!(cluster.run(&["config", "describe", "topic"]).status.code(), Some(2));
    cluster.close();
}

#[test]
fn a_group_is_explained() {
    let cluster = Cluster::new();
    cluster.text(&["topic", "create", "t"]);
    assert!(cluster.feed(&["produce", "t"], b"1\n2\n").status.success());
    assert_eq!(cluster.text(&["consume", "t", "--group", "g", "--from-beginning", "-n", "1"]), "1\n");
    let explain =
        |group: &str, more: &[&str]| cluster.text(&[&["group", "explain", group, "--seconds", "0.2"], more].concat());
    let text = explain("g", &[]);
    assert!(text.starts_with("Group g has no members"), "{text}");
    assert!(text.contains("1 records wait behind the committed offsets") && text.contains("Timeline"), "{text}");
    let json: Value = serde_json::from_str(&explain("nobody", &["--json"])).expect("JSON");
    assert_eq!(json["findings"][0]["cause"], "no-such-group");
    cluster.close();
}

/// A recording is listed, replayed with the same answers, and against a broker of another mind with the differences.
#[test]
fn recorded_traffic_is_shown_and_replayed() {
    let file = std::env::temp_dir().join(format!("ottla-cli-{}.traffic", std::process::id()));
    let cluster = Cluster::new();
    let recording = cluster.runtime.block_on(async { cluster.broker.record_traffic(&file) }).expect("a new file");
    cluster.text(&["topic", "create", "flights", "--partitions", "2"]);
    assert!(cluster.feed(&["produce", "flights"], b"UA1545\n").status.success());
    cluster.runtime.block_on(recording.finish()).expect("all of it");
    cluster.close();

    let shown = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ottla"));
        let output = command.args(["traffic", "show"]).arg(&file).args(args).output().expect("the binary runs");
        assert!(output.status.success(), "{}", stderr(&output));
        String::from_utf8(output.stdout).expect("text")
    };
    assert!(shown(&[]).lines().any(|line| line.contains("CreateTopics v") && line.contains("bytes -> ")));
    let produced = shown(&["--api", "produce", "--bodies"]);
    assert!(produced.contains("UA1545") && !produced.contains("CreateTopics"), "{produced}");
    let rows: Vec<Value> =
        shown(&["--json"]).lines().map(|line| serde_json::from_str(line).expect("a value a line")).collect();
    assert!(rows.iter().any(|row| row["api"] == "Produce" && row["outcome"] == "answered"));

    let file_name = file.to_str().expect("text");
    let fresh = Cluster::new();
    let report = fresh.json(&["traffic", "replay", file_name, "--json"]);
    assert_eq!((report["same"].as_u64(), report["different"].as_u64()), (Some(rows.len() as u64), Some(0)), "{report}");
    assert_eq!(report["skipped"], 0);
    assert_eq!(fresh.text(&["consume", "flights", "--from-beginning", "--exit-at-end"]), "UA1545\n");
    // Once more on the same broker: the topic exists now.
    let again = fresh.run(&["traffic", "replay", file_name]);
    assert_eq!(again.status.code(), Some(1));
    let text = String::from_utf8_lossy(&again.stdout).into_owned();
    assert!(text.contains("topics[flights].error_code: was 0, is 36"), "{text}");
    assert!(stderr(&again).contains("answered differently"), "{}", stderr(&again));
    fresh.close();
    #[allow(clippy::disallowed_methods)] // A test's own file, outside the engine.
    std::fs::remove_file(&file).expect("it is there");
}
