//! Killed brokers, broken files, a full disk: nothing acknowledged is lost or doubled, and what cannot be saved is cut off.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::{Lab, expect};
use crate::test::broker::Home;
use crate::tools;

const STOP_LIMIT: Duration = Duration::from_secs(10);

/// SIGKILL again and again under an idempotent load; after each restart everything acknowledged so far is there exactly once.
pub fn kill_loop(lab: &Lab) -> Result<(), String> {
    let home = Home::new(&lab.engine, "kill-9")?;
    let mut broker = home.start()?;
    lab.go(&["create", &home.bootstrap(), "load", "3", "segment.bytes=1048576"])?;
    let (load, file) = lab.load(&home.bootstrap(), "load", 100, "kill-9-load")?;
    let rounds = if lab.full { 40 } else { 6 };
    let mut before = 0;
    for round in 0..rounds {
        // Not always at the same place: between 0.5 and 1.5 seconds after the last check.
        std::thread::sleep(Duration::from_millis(500 + (round * 379) % 1000));
        broker.kill();
        broker = home.start()?;
        let count = lab.verify(&home.bootstrap(), "load", &file).map_err(|e| format!("round {round}: {e}"))?;
        expect(count > before, || format!("round {round}: nothing was acknowledged since the last round ({count})"))?;
        before = count;
    }
    lab.finish(load, "kill-9-load")?;
    lab.verify(&home.bootstrap(), "load", &file)?;
    broker.stop(STOP_LIMIT).map(drop)
}

/// Kafka's DumpLogSegments accepts our files right after SIGKILL (offset indexes), and all of them after recovery and a stop.
pub fn dump_log(lab: &Lab) -> Result<(), String> {
    let tools = tools::kafka_tools()?;
    let home = Home::new(&lab.engine, "dump-log")?;
    let broker = home.start()?;
    lab.go(&["create", &broker.bootstrap, "dump", "1", "segment.bytes=1048576", "index.interval.bytes=1000"])?;
    let (load, _) = lab.load(&broker.bootstrap, "dump", 500, "dump-load")?;
    std::thread::sleep(Duration::from_secs(3));
    broker.kill();
    drop(load);
    dump(&tools, &files(&home, "dump-0", &["index"])?)?;
    home.start()?.stop(STOP_LIMIT)?;
    let all = files(&home, "dump-0", &["log", "index", "timeindex"])?;
    expect(all.len() >= 6, || format!("expected several segments, found {} files", all.len()))?;
    dump(&tools, &all)
}

/// SIGKILL while a compacted topic of ten keys is written and cleaned: it goes on being cleaned after each restart, no file of
/// a swap is left, and Kafka's DumpLogSegments accepts what is there in the end.
pub fn kill_cleaner(lab: &Lab) -> Result<(), String> {
    let tools = tools::kafka_tools()?;
    let home = Home::new(&lab.engine, "kill-9-cleaner")?.with("log.cleaner.backoff.ms=20");
    let broker = home.start()?;
    let configs = ["cleanup.policy=compact", "segment.bytes=1048576", "index.interval.bytes=1000"];
    let ratio = "min.cleanable.dirty.ratio=0.01";
    lab.go(&["create", &broker.bootstrap, "compact", "1", configs[0], configs[1], configs[2], ratio])?;
    let (load, _) = lab.load(&broker.bootstrap, "compact", 2000, "kill-9-cleaner-load")?;
    let checkpoint = home.logs().join("cleaner-offset-checkpoint");
    let cleaned = || {
        let text = fs::read_to_string(&checkpoint).unwrap_or_default();
        text.lines().find_map(|line| line.strip_prefix("compact 0 ")?.parse::<i64>().ok()).unwrap_or(0)
    };
    let mut broker = Some(broker);
    for _ in 0..4 {
        let (before, begun) = (cleaned(), Instant::now());
        while cleaned() == before {
            expect(begun.elapsed() < Duration::from_secs(30), || format!("nothing is cleaned behind {before}"))?;
            std::thread::sleep(Duration::from_millis(7));
        }
        if let Some(broker) = broker.take() {
            broker.kill();
        }
        broker = Some(home.start()?);
    }
    lab.finish(load, "kill-9-cleaner-load")?;
    if let Some(broker) = broker {
        broker.stop(STOP_LIMIT)?;
    }
    expect(files(&home, "compact-0", &["cleaned", "swap"])?.is_empty(), || "files of a swap are left".to_owned())?;
    let first = &files(&home, "compact-0", &["log"])?[0];
    let size = fs::metadata(first).map_err(|e| e.to_string())?.len();
    expect(size < 100_000, || format!("ten keys are left of the first segment, but it has {size} bytes"))?;
    dump(&tools, &files(&home, "compact-0", &["log", "index", "timeindex"])?)
}

fn files(home: &Home, partition: &str, extensions: &[&str]) -> Result<Vec<PathBuf>, String> {
    let dir = home.logs().join(partition);
    let entries = fs::read_dir(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let wanted = |p: &PathBuf| p.extension().is_some_and(|e| extensions.iter().any(|x| e == *x));
    let mut found: Vec<PathBuf> = entries.flatten().map(|e| e.path()).filter(wanted).collect();
    found.sort();
    Ok(found)
}

fn dump(class_path: &str, files: &[PathBuf]) -> Result<(), String> {
    let list = files.iter().map(|f| f.display().to_string()).collect::<Vec<_>>().join(",");
    let mut command = tools::java_command(class_path, "org.apache.kafka.tools.DumpLogSegments");
    let output = command.args(["--deep-iteration", "--index-sanity-check", "--files", &list]).output();
    let output = output.map_err(|e| format!("cannot run java: {e}"))?;
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let bad = |l: &&str| {
        l.contains("Exception") || l.contains("isvalid: false") || l.contains("Mismatch") || l.contains("Found ")
    };
    let indexes = files.iter().filter(|f| f.extension().is_some_and(|e| e != "log")).count();
    let passed = text.matches("passed sanity check").count() + text.matches(" is empty.").count();
    match text.lines().find(bad) {
        Some(line) => Err(format!("DumpLogSegments: {line}")),
        None => expect(output.status.success() && passed == indexes, || {
            format!("{passed} of {indexes} indexes passed: {}", tools::tail(&text, 3))
        }),
    }
}

/// The last bytes of the log are gone.
pub fn truncated_segment(lab: &Lab) -> Result<(), String> {
    damage(lab, "truncated", |file, length| file.set_len(length - 37))
}

/// One bit in the middle of the log is wrong.
pub fn bit_flipped_segment(lab: &Lab) -> Result<(), String> {
    damage(lab, "bit-flipped", |file, length| {
        let mut byte = [0];
        file.read_exact_at(&mut byte, length / 2)?;
        file.write_all_at(&[byte[0] ^ 0x10], length / 2)
    })
}

/// Kills the broker, breaks the log, restarts: a prefix of the records is there, and the log goes on after it.
fn damage(lab: &Lab, topic: &str, harm: fn(&File, u64) -> std::io::Result<()>) -> Result<(), String> {
    let home = Home::new(&lab.engine, topic)?;
    let broker = home.start()?;
    lab.go(&["create", &broker.bootstrap, topic, "1"])?;
    for from in (0..2000).step_by(100) {
        lab.produce(&broker.bootstrap, topic, from, 100)?;
    }
    broker.kill();
    let path = files(&home, &format!("{topic}-0"), &["log"])?.pop().ok_or("the partition has no segment")?;
    let file = File::options().read(true).write(true).open(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let length = file.metadata().map_err(|e| e.to_string())?.len();
    harm(&file, length).map_err(|e| format!("{}: {e}", path.display()))?;
    let broker = home.start()?;
    let kept = lab.read(&broker.bootstrap, topic)?;
    expect(kept == Vec::from_iter(0..kept.len()), || "what is left is not a prefix of what was written".to_owned())?;
    expect((100..2000).contains(&kept.len()), || format!("{} records are left of 2000", kept.len()))?;
    lab.produce(&broker.bootstrap, topic, kept.len(), 100)?;
    let after = lab.read(&broker.bootstrap, topic)?;
    expect(after == Vec::from_iter(0..kept.len() + 100), || format!("{} records after writing on", after.len()))?;
    broker.stop(STOP_LIMIT).map(drop)
}

/// A tmpfs of 16 MiB under the data directory; unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount() -> Result<SmallDisk, String> {
        let dir = tools::scratch("small-disk")?;
        Command::new("umount").arg(&dir).output().ok(); // What a killed run left.
        let mut mount = Command::new("mount");
        tools::run(mount.args(["-t", "tmpfs", "-o", "size=16m", "tmpfs"]).arg(&dir), "mount a tmpfs (needs root)")?;
        Ok(SmallDisk(dir))
    }

    fn free(&self) -> u64 {
        rustix::fs::statvfs(&self.0).map_or(0, |s| s.f_bavail * s.f_frsize)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(&self.0).output().ok();
    }
}

/// Produces until the disk is full, frees space, and the same load goes on: nothing acknowledged is lost or doubled.
pub fn full_disk(lab: &Lab) -> Result<(), String> {
    let disk = SmallDisk::mount()?;
    let filler = disk.0.join("filler");
    fs::write(&filler, vec![1; 9 << 20]).map_err(|e| format!("{}: {e}", filler.display()))?;
    let home =
        Home::at(&lab.engine, &disk.0)?.with("log.index.size.max.bytes=4096").with("offsets.topic.num.partitions=1");
    let mut broker = home.start()?;
    lab.go(&["create", &broker.bootstrap, "full", "1"])?;
    let (mut load, file) = lab.load(&broker.bootstrap, "full", 2000, "full-disk-load")?;
    let stuck = settled_size(&file, Duration::from_secs(30))?;
    expect(broker.program.running(), || "the broker ended when its disk was full".to_owned())?;
    expect(load.running(), || "the load ended when the disk was full".to_owned())?;
    expect(disk.free() < 1 << 20, || format!("the load stopped with {} bytes free", disk.free()))?;
    fs::remove_file(&filler).map_err(|e| e.to_string())?;
    let end = Instant::now() + Duration::from_secs(20);
    while size(&file) == stuck && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(50));
    }
    expect(size(&file) > stuck, || "nothing was acknowledged within 20 s after space was freed".to_owned())?;
    lab.finish(load, "full-disk-load")?;
    let count = lab.verify(&broker.bootstrap, "full", &file)?;
    broker.stop(STOP_LIMIT)?;
    let broker = home.start()?;
    let again = lab.verify(&broker.bootstrap, "full", &file)?;
    expect(count == again && count > 0, || format!("{again} of {count} records after a restart"))
}

fn size(file: &Path) -> u64 {
    fs::metadata(file).map_or(0, |m| m.len())
}

/// Waits until a file has grown and then not for two seconds; its size.
fn settled_size(file: &Path, limit: Duration) -> Result<u64, String> {
    let end = Instant::now() + limit;
    let (mut last, mut since) = (0, Instant::now());
    while Instant::now() < end {
        let now = size(file);
        if now != last {
            (last, since) = (now, Instant::now());
        } else if last > 0 && since.elapsed() > Duration::from_secs(2) {
            return Ok(last);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err(format!("the disk was not full within {} s", limit.as_secs()))
}
