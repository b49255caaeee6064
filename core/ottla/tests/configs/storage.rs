//! Where data is on the disk, and how the metadata log is kept.

use crate::support::*;

const METADATA: &str = "__cluster_metadata-0";

#[tokio::test]
pub async fn log_dir() {
    let folder = Folder::new();
    let node = start_server(&[("log.dir", &folder.text("data"))]).await;
    node.create(TOPIC, 1, &[]).await;
    assert!(names(&folder.join("data")).contains(&"t-0".to_owned()));
    node.close().await;
}

/// Over log.dir, and with the partitions spread.
#[tokio::test]
pub async fn log_dirs() {
    let folder = Folder::new();
    let dirs = format!("{},{}", folder.text("a"), folder.text("b"));
    let node = start_server(&[("log.dirs", &dirs), ("log.dir", &folder.text("unused"))]).await;
    node.create(TOPIC, 4, &[]).await;
    let logs = |dir| names(&folder.join(dir)).iter().filter(|name| name.starts_with("t-")).count();
    assert_eq!((logs("a"), logs("b")), (2, 2));
    assert_eq!(names(folder.path()), ["a", "b"]);
    node.close().await;
}

#[tokio::test]
pub async fn metadata_log_dir() {
    let folder = Folder::new();
    let (data, metadata) = (folder.text("data"), folder.text("metadata"));
    let node = start_server(&[("log.dirs", &data), ("metadata.log.dir", &metadata)]).await;
    assert!(names(&folder.join("metadata")).contains(&METADATA.to_owned()));
    assert!(!names(&folder.join("data")).contains(&METADATA.to_owned()));
    node.close().await;
}

/// A snapshot besides that of a new cluster.
fn snapshots(folder: &Folder) -> usize {
    let names = names(&folder.join(METADATA));
    names.iter().filter(|name| name.ends_with(".checkpoint") && !name.starts_with("00000000000000000000-")).count()
}

#[tokio::test]
pub async fn metadata_log_max_record_bytes_between_snapshots() {
    let folder = Folder::new();
    let node = start_in(&folder, &[("metadata.log.max.record.bytes.between.snapshots", "1000")]).await;
    let before = snapshots(&folder);
    node.create(TOPIC, 50, &[]).await;
    assert!(snapshots(&folder) > before);
    node.close().await;
}

#[tokio::test]
pub async fn metadata_log_max_snapshot_interval_ms() {
    let folder = Folder::new();
    let node = start_in(&folder, &[("metadata.log.max.snapshot.interval.ms", "20")]).await;
    eventually("a snapshot is written", async || snapshots(&folder) > 0).await;
    node.close().await;
}

/// Three hundred values of the longest kind are more than a segment of eight mebibytes.
#[tokio::test]
pub async fn metadata_log_segment_bytes() {
    let value = "x".repeat(32_000);
    let mut segments = Vec::new();
    for configs in [&[][..], &[("metadata.log.segment.bytes", "8388608")]] {
        let folder = Folder::new();
        let node = start_in(&folder, configs).await;
        for _ in 0..300 {
            assert_eq!(node.alter(None, "ssl.truststore.certificates", &value).await, ottla_model::ErrorCode::None);
        }
        segments.push(count(&folder.join(METADATA), ".log"));
        node.close().await;
    }
    assert_eq!(segments, [1, 2]);
}
