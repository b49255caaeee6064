//! File systems. Goal: the real one and the one in memory behave alike. Method: each check runs on both, the real one with a
//! descriptor cache so small that files are closed and opened again all the time.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use ottla_env::{DirEntry, FileCache, Fs, OpenMode};
use ottla_model::Chunk;

/// A directory that is removed at the end.
struct TempDir(PathBuf);

impl TempDir {
    fn new() -> TempDir {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("ottla-env-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        TempDir(path)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs a check on both file systems, in an empty directory.
fn on_both(check: impl Fn(&Fs, &Path)) {
    let dir = TempDir::new();
    check(&Fs::real_with_cache(FileCache::new(8)), &dir.0);
    let fs = Fs::memory();
    let dir = Path::new("/data/broker");
    fs.create_dir_all(dir).unwrap();
    check(&fs, dir);
}

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

#[test]
fn writes_are_read_back_at_any_position() {
    on_both(|fs, dir| {
        let file = fs.open(&dir.join("log"), OpenMode::Create).unwrap();
        assert_eq!(file.len().unwrap(), 0);
        assert_eq!(file.append(&[bytes("hello "), Bytes::new(), bytes("world")]).unwrap(), 0);
        assert_eq!(file.append(&[bytes("!")]).unwrap(), 11);
        assert_eq!(file.read_at(0, 100).unwrap(), "hello world!");
        assert_eq!(file.read_at(4, 4).unwrap(), "o wo");
        assert_eq!(file.read_at(12, 4).unwrap(), "");
        assert_eq!(file.read_at(u64::from(u32::MAX), 4).unwrap(), "");
        file.write_at(3, &[bytes("LO W")]).unwrap();
        assert_eq!(file.read_at(0, 100).unwrap(), "helLO World!");
        file.write_at(11, &[bytes("?!")]).unwrap();
        assert_eq!(file.read_at(0, 100).unwrap(), "helLO World?!");
        let mut exact = [0; 5];
        file.read_exact_at(6, &mut exact).unwrap();
        assert_eq!(&exact, b"World");
        assert_eq!(file.read_exact_at(9, &mut exact).unwrap_err().kind(), ErrorKind::UnexpectedEof);
        file.sync_data().unwrap();
        assert_eq!(fs.read(&dir.join("log")).unwrap(), b"helLO World?!");
        assert_eq!(fs.file_len(&dir.join("log")).unwrap(), 13);
    });
}

#[test]
fn set_len_cuts_and_extends() {
    on_both(|fs, dir| {
        let file = fs.open(&dir.join("log"), OpenMode::Create).unwrap();
        file.append(&[bytes("abc"), bytes("def")]).unwrap();
        file.set_len(4).unwrap();
        file.append(&[bytes("XY")]).unwrap();
        assert_eq!(file.read_at(0, 10).unwrap(), "abcdXY");
        file.set_len(8).unwrap();
        assert_eq!(file.read_at(4, 10).unwrap(), "XY\0\0");
        file.write_at(10, &[bytes("z")]).unwrap();
        assert_eq!(file.read_at(6, 10).unwrap(), "\0\0\0\0z");
        file.set_len(0).unwrap();
        assert_eq!(file.len().unwrap(), 0);
        assert_eq!(file.read_at(0, 10).unwrap(), "");
    });
}

#[test]
fn random_writes_agree_with_a_plain_vector() {
    on_both(|fs, dir| {
        let file = fs.open(&dir.join("log"), OpenMode::Create).unwrap();
        let mut model: Vec<u8> = Vec::new();
        let mut seed = 7u64;
        let mut random = |below: usize| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) as usize % below
        };
        for step in 0..2000 {
            let position = random(model.len() + 20);
            match random(4) {
                0 => {
                    file.set_len(position as u64).unwrap();
                    model.resize(position, 0);
                }
                kind => {
                    let position = if kind == 1 { position } else { model.len() };
                    let buffers: Vec<Bytes> =
                        (0..random(4)).map(|i| Bytes::from(vec![(step + i) as u8; random(700)])).collect();
                    let flat = buffers.concat();
                    file.write_at(position as u64, &buffers).unwrap();
                    if !flat.is_empty() {
                        let end = (position + flat.len()).max(model.len());
                        model.resize(end, 0);
                        model[position..position + flat.len()].copy_from_slice(&flat);
                    }
                }
            }
            assert_eq!(file.len().unwrap(), model.len() as u64, "step {step}");
            let (from, len) = (random(model.len() + 1), random(5000));
            let expected = &model[from..(from + len).min(model.len())];
            assert_eq!(file.read_at(from as u64, len).unwrap(), expected, "step {step}");
        }
        assert_eq!(file.read_at(0, model.len()).unwrap(), model);
    });
}

#[test]
fn more_buffers_than_one_system_call_takes() {
    on_both(|fs, dir| {
        let file = fs.open(&dir.join("log"), OpenMode::Create).unwrap();
        let buffers: Vec<Bytes> = (0..5000u32).map(|i| Bytes::from(i.to_be_bytes().repeat(i as usize % 3))).collect();
        file.append(&buffers).unwrap();
        assert_eq!(file.read_at(0, usize::from(u16::MAX)).unwrap(), buffers.concat());
    });
}

#[test]
fn open_modes() {
    on_both(|fs, dir| {
        let path = dir.join("log");
        assert_eq!(fs.open(&path, OpenMode::Read).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(fs.open(&path, OpenMode::ReadWrite).unwrap_err().kind(), ErrorKind::NotFound);
        fs.open(&path, OpenMode::CreateNew).unwrap().append(&[bytes("kept")]).unwrap();
        assert_eq!(fs.open(&path, OpenMode::CreateNew).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs.open(&path, OpenMode::Create).unwrap().len().unwrap(), 4);
        let file = fs.open(&path, OpenMode::Read).unwrap();
        assert_eq!(file.read_at(0, 4).unwrap(), "kept");
        assert_eq!(file.append(&[bytes("x")]).unwrap_err().kind(), ErrorKind::PermissionDenied);
        assert_eq!(file.set_len(0).unwrap_err().kind(), ErrorKind::PermissionDenied);
        let nowhere = dir.join("missing").join("log");
        assert_eq!(fs.open(&nowhere, OpenMode::Create).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(fs.open(dir, OpenMode::ReadWrite).unwrap_err().kind(), ErrorKind::IsADirectory);
    });
}

#[test]
fn directories() {
    on_both(|fs, dir| {
        fs.create_dir_all(&dir.join("a/b/c")).unwrap();
        fs.create_dir_all(&dir.join("a/b")).unwrap();
        fs.write_atomic(&dir.join("a/file"), b"1", true).unwrap();
        fs.write_atomic(&dir.join("ab"), b"2", false).unwrap();
        let entry = |name: &str, is_dir| DirEntry { name: name.to_owned(), is_dir };
        assert_eq!(fs.read_dir(dir).unwrap(), [entry("a", true), entry("ab", false)]);
        assert_eq!(fs.read_dir(&dir.join("a")).unwrap(), [entry("b", true), entry("file", false)]);
        assert_eq!(fs.read_dir(&dir.join("x")).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(fs.read_dir(&dir.join("ab")).unwrap_err().kind(), ErrorKind::NotADirectory);
        assert!(fs.exists(&dir.join("a/b/c")) && !fs.exists(&dir.join("a/c")));
        assert_eq!(fs.create_dir_all(&dir.join("ab")).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs.create_dir_all(&dir.join("ab/c")).unwrap_err().kind(), ErrorKind::NotADirectory);
        assert_eq!(fs.remove_file(&dir.join("x")).unwrap_err().kind(), ErrorKind::NotFound);
        assert!(fs.remove_file(&dir.join("a")).is_err());
        assert!(fs.remove_dir_all(&dir.join("ab")).is_err());
        fs.sync_dir(&dir.join("a")).unwrap();
        fs.remove_dir_all(&dir.join("a")).unwrap();
        assert!(!fs.exists(&dir.join("a/b")));
        assert_eq!(fs.read_dir(dir).unwrap(), [entry("ab", false)]);
        assert_eq!(fs.remove_dir_all(&dir.join("a")).unwrap_err().kind(), ErrorKind::NotFound);
        fs.remove_file(&dir.join("ab")).unwrap();
        assert!(fs.read_dir(dir).unwrap().is_empty());
    });
}

#[test]
fn write_atomic_replaces_the_whole() {
    on_both(|fs, dir| {
        let path = dir.join("checkpoint");
        fs.write_atomic(&path, b"a long first version", true).unwrap();
        let old = fs.open(&path, OpenMode::Read).unwrap();
        fs.write_atomic(&path, b"short", true).unwrap();
        assert_eq!(fs.read(&path).unwrap(), b"short");
        assert_eq!(old.read_at(0, 6).unwrap(), "a long", "a reader keeps what it has opened");
        assert_eq!(fs.read_dir(dir).unwrap().len(), 1, "no temporary file is left");
        assert!(fs.write_atomic(&dir.join("missing/checkpoint"), b"", false).is_err());
    });
}

#[test]
fn renames() {
    on_both(|fs, dir| {
        fs.create_dir_all(&dir.join("t-0")).unwrap();
        let file = fs.open(&dir.join("t-0/log"), OpenMode::Create).unwrap();
        file.append(&[bytes("1")]).unwrap();
        fs.rename_open(&file, &dir.join("t-0/log.deleted")).unwrap();
        assert_eq!(file.path(), dir.join("t-0/log.deleted"));
        fs.rename(&dir.join("t-0"), &dir.join("t-0.x-delete")).unwrap();
        file.set_path(&dir.join("t-0.x-delete/log.deleted"));
        if let Some(cache) = fs.file_cache() {
            // Closes it, so that it must be found under its new name.
            for i in 0..20 {
                fs.open(&dir.join(format!("{i}")), OpenMode::Create).unwrap();
            }
            assert!(cache.open_count() <= 8);
        }
        file.append(&[bytes("2")]).unwrap();
        assert_eq!(fs.read(&dir.join("t-0.x-delete/log.deleted")).unwrap(), b"12");
        assert!(!fs.exists(&dir.join("t-0")));
        // A rename replaces a file, and a directory only when it is empty.
        fs.write_atomic(&dir.join("other"), b"3", false).unwrap();
        fs.rename(&dir.join("other"), &dir.join("t-0.x-delete/log.deleted")).unwrap();
        assert_eq!(fs.read(&dir.join("t-0.x-delete/log.deleted")).unwrap(), b"3");
        fs.create_dir_all(&dir.join("d/e")).unwrap();
        assert_eq!(
            fs.rename(&dir.join("d"), &dir.join("t-0.x-delete")).unwrap_err().kind(),
            ErrorKind::DirectoryNotEmpty
        );
        assert_eq!(fs.rename(&dir.join("nothing"), &dir.join("f")).unwrap_err().kind(), ErrorKind::NotFound);
        assert!(fs.rename(&dir.join("d"), &dir.join("d/e/f")).is_err());
        fs.create_dir_all(&dir.join("empty")).unwrap();
        fs.rename(&dir.join("d"), &dir.join("empty")).unwrap();
        assert!(fs.exists(&dir.join("empty/e")));
    });
}

#[test]
fn a_removed_file_stays_readable_for_those_who_have_it() {
    on_both(|fs, dir| {
        let path = dir.join("log");
        let file = fs.open(&path, OpenMode::Create).unwrap();
        file.append(&[bytes("still here")]).unwrap();
        let region = file.chunk(6, 4).unwrap();
        fs.remove_open(&file).unwrap();
        assert!(!fs.exists(&path));
        // A new file of the same name is another one, however often descriptors are closed.
        fs.open(&path, OpenMode::CreateNew).unwrap();
        for i in 0..30 {
            fs.open(&dir.join(format!("{i}")), OpenMode::Create).unwrap();
        }
        assert_eq!(file.read_at(0, 5).unwrap(), "still");
        assert_eq!(region.to_bytes().unwrap(), "here");
        assert!(fs.remove_open(&file).is_err() || fs.file_cache().is_some());
    });
}

#[test]
fn a_region_holds_its_descriptor() {
    let dir = TempDir::new();
    let fs = Fs::real_with_cache(FileCache::new(8));
    let file = fs.open(&dir.0.join("log"), OpenMode::Create).unwrap();
    file.append(&[bytes("0123456789")]).unwrap();
    let Chunk::Region(region) = file.chunk(2, 3).unwrap() else { panic!("a real file gives a region") };
    assert!(region.source.as_any().downcast_ref::<ottla_env::RealFile>().unwrap().fd().is_ok());
    // Removed behind our back: only the held descriptor leads to it.
    fs.remove_file(&dir.0.join("log")).unwrap();
    drop(file);
    for i in 0..30 {
        fs.open(&dir.0.join(format!("{i}")), OpenMode::Create).unwrap();
    }
    assert_eq!(region.read().unwrap(), "234");
}

#[test]
fn many_files_need_few_descriptors() {
    let dir = TempDir::new();
    let cache = FileCache::new(10);
    let fs = Fs::real_with_cache(cache.clone());
    let files: Vec<_> = (0..200).map(|i| fs.open(&dir.0.join(format!("{i}")), OpenMode::Create).unwrap()).collect();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (files, cache) = (&files, &cache);
            scope.spawn(move || {
                for (i, file) in files.iter().enumerate().filter(|(i, _)| i % 4 == thread) {
                    file.append(&[Bytes::from(format!("{i}"))]).unwrap();
                    assert!(cache.open_count() <= 10 + 4, "{}", cache.open_count());
                }
            });
        }
    });
    for (i, file) in files.iter().enumerate() {
        assert_eq!(file.read_at(0, 10).unwrap(), i.to_string());
    }
    assert!(cache.open_count() <= 10);
    cache.set_max(8);
    assert!(cache.open_count() <= 8);
    // Descriptors in use are not closed, and more than the bound are opened if they must.
    let held: Vec<_> = files.iter().take(20).map(|file| file.as_real().unwrap().fd().unwrap()).collect();
    assert!(cache.open_count() >= 20);
    drop(held);
    cache.set_max(8);
    assert!(cache.open_count() <= 8);
}

#[test]
fn memory_hands_out_what_was_appended() {
    let fs = Fs::memory();
    let file = fs.open(Path::new("/log"), OpenMode::Create).unwrap();
    let batches: Vec<Bytes> = (0..3u8).map(|i| Bytes::from(vec![i; 1000])).collect();
    file.append(&batches).unwrap();
    assert_eq!(file.read_at(1000, 1000).unwrap().as_ptr(), batches[1].as_ptr());
    assert_eq!(file.read_at(2500, 9999).unwrap().as_ptr(), batches[2][500..].as_ptr());
    assert_eq!(file.read_at(500, 1000).unwrap(), [&batches[0][500..], &batches[1][..500]].concat());
    let Chunk::Bytes(chunk) = file.chunk(1000, 10).unwrap() else { panic!("memory gives bytes") };
    assert_eq!(chunk.as_ptr(), batches[1].as_ptr());
    assert!(file.chunk(2999, 2).is_err());
}

#[test]
fn a_directory_is_locked_once() {
    on_both(|fs, dir| {
        let lock = fs.lock(dir).unwrap();
        let error = fs.lock(dir).unwrap_err().to_string();
        assert!(error.contains(&format!("another broker in this process ({})", std::process::id())), "{error}");
        drop(lock);
        drop(fs.lock(dir).unwrap());
        assert!(fs.lock(&dir.join("missing")).unwrap_err().to_string().contains("missing"));
    });
}

/// The other process is this test binary again, which holds the lock until its input ends.
#[test]
fn another_process_is_refused_and_named() {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};
    const DIR: &str = "OTTLA_ENV_TEST_LOCK_DIR";
    let fs = Fs::real();
    if let Ok(dir) = std::env::var(DIR) {
        let _lock = fs.lock(Path::new(&dir)).unwrap();
        println!("\nlocked");
        let _ = std::io::stdin().read_line(&mut String::new());
        return;
    }
    let dir = TempDir::new();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "fs::another_process_is_refused_and_named", "--nocapture"])
        .env(DIR, &dir.0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line == "locked"));
    let error = fs.lock(&dir.0).unwrap_err().to_string();
    assert!(error.contains(&format!("in use by process {}", child.id())), "{error}");
    let pid = std::fs::read_to_string(dir.0.join(".lock")).unwrap();
    assert_eq!(pid.trim(), child.id().to_string());
    child.kill().unwrap();
    child.wait().unwrap();
    drop(fs.lock(&dir.0).expect("a dead process holds nothing"));
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error() {
    let file = Fs::real().open(Path::new("/dev/full"), OpenMode::ReadWrite).unwrap();
    assert_eq!(file.write_at(0, &[bytes("x"), bytes("y")]).unwrap_err().kind(), ErrorKind::StorageFull);
}

/// A file system that crashes: what was done before is there, one write is torn, nothing comes after.
#[test]
fn a_crash_in_memory() {
    let fs = Fs::memory();
    let dir = Path::new("/d");
    fs.create_dir_all(dir).unwrap();
    fs.crash_after(Some(2));
    let file = fs.open(&dir.join("a"), OpenMode::Create).unwrap();
    file.write_at(0, &[Bytes::from_static(b"whole")]).unwrap();
    assert!(file.write_at(5, &[Bytes::from_static(b"half")]).is_err());
    assert!(file.write_at(0, &[Bytes::from_static(b"nothing")]).is_err());
    assert!(fs.rename(&dir.join("a"), &dir.join("b")).is_err());
    assert!(fs.write_atomic(&dir.join("c"), b"c", false).is_err());
    assert!(fs.remove_file(&dir.join("a")).is_err());
    assert!(fs.open(&dir.join("a"), OpenMode::Create).is_ok(), "nothing changes by that");
    fs.crash_after(None);
    assert_eq!(fs.read(&dir.join("a")).unwrap(), b"wholeha");
    assert!(!fs.exists(&dir.join("c")));
    file.set_len(1).unwrap();
    assert_eq!(fs.read(&dir.join("a")).unwrap(), b"w");
}
