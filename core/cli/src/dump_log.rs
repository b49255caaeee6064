//! `ottla dump-log`: what is in the files of a log directory, Ottla's or Apache Kafka's, without a broker. It streams:
//! a segment larger than memory is no problem. Nothing is changed.

use crate::error::CliError;
use ottla::env::Env;
use ottla::log::dump::{self, BatchRow, LogDump};
use serde_json::{Value, json};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
Examples:
  ottla dump-log ottla-data/flights-0/00000000000000000000.log
  ottla dump-log --print-data-log ottla-data/flights-0/*.log | head
  ottla dump-log --index-sanity-check ottla-data/*/*.index ottla-data/*/*.timeindex
  ottla dump-log --json ottla-data/flights-0/*.log | jq .count

With --json each batch or entry is one line. Bytes that are not UTF-8 text are shown in hexadecimal, as 0x00ff.
Files may be .log, .index, .timeindex, .txnindex and .snapshot.";

/// Shows what is in log files, indexes and producer snapshots.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct DumpLogArgs {
    /// Files of a partition's directory.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Show the records in the batches too.
    #[arg(long)]
    print_data_log: bool,
    /// Only check the indexes against the log beside them.
    #[arg(long)]
    index_sanity_check: bool,
    /// Print JSON, one value per line.
    #[arg(long)]
    json: bool,
}

/// Where the output goes and how.
struct Printer {
    out: BufWriter<std::io::StdoutLock<'static>>,
    json: bool,
    print_data: bool,
    /// What is wrong with the files; the command fails in the end.
    problems: usize,
}

/// Runs the command.
pub fn run(args: &DumpLogArgs) -> Result<(), CliError> {
    let env = Env::real();
    let mut printer = Printer {
        out: BufWriter::with_capacity(64 * 1024, std::io::stdout().lock()),
        json: args.json,
        print_data: args.print_data_log,
        problems: 0,
    };
    for file in &args.files {
        if !args.json && !args.index_sanity_check {
            writeln!(printer.out, "{}", file.display())?;
        }
        let dumped = if args.index_sanity_check { printer.check(&env, file) } else { printer.dump(&env, file) };
        // What was found so far stays readable in front of the error.
        if dumped.is_err() {
            printer.out.flush()?;
        }
        dumped?;
    }
    printer.out.flush()?;
    match printer.problems {
        0 => Ok(()),
        1 => Err(CliError::Failed("1 problem was found, see above".to_owned())),
        n => Err(CliError::Failed(format!("{n} problems were found, see above"))),
    }
}

fn extension(file: &Path) -> &str {
    file.extension().and_then(|extension| extension.to_str()).unwrap_or_default()
}

fn failed(error: impl std::fmt::Display) -> CliError {
    CliError::Failed(error.to_string())
}

impl Printer {
    fn dump(&mut self, env: &Env, file: &Path) -> Result<(), CliError> {
        match extension(file) {
            "log" => self.log(env, file),
            "index" => {
                for row in dump::offset_index(env, file).map_err(failed)? {
                    self.row(&[("offset", Value::from(row.offset)), ("position", Value::from(row.position))])?;
                }
                Ok(())
            }
            "timeindex" => {
                for row in dump::time_index(env, file).map_err(failed)? {
                    self.row(&[("timestamp", Value::from(row.timestamp)), ("offset", Value::from(row.offset))])?;
                }
                Ok(())
            }
            "txnindex" => {
                for row in dump::transaction_index(env, file).map_err(failed)? {
                    self.row(&[
                        ("producerId", Value::from(row.producer_id)),
                        ("firstOffset", Value::from(row.first_offset)),
                        ("lastOffset", Value::from(row.last_offset)),
                        ("lastStableOffset", Value::from(row.last_stable_offset)),
                    ])?;
                }
                Ok(())
            }
            "snapshot" => {
                for row in dump::producer_snapshot(env, file).map_err(failed)? {
                    self.row(&[
                        ("producerId", Value::from(row.producer_id)),
                        ("producerEpoch", Value::from(row.producer_epoch)),
                        ("lastSequence", Value::from(row.last_sequence())),
                        ("lastOffset", Value::from(row.last_offset())),
                        ("lastTimestamp", Value::from(row.last_timestamp)),
                    ])?;
                }
                Ok(())
            }
            _ => Err(CliError::Usage(format!(
                "{}: expected a .log, .index, .timeindex, .txnindex or .snapshot file",
                file.display()
            ))),
        }
    }

    fn check(&mut self, env: &Env, file: &Path) -> Result<(), CliError> {
        let problems = match extension(file) {
            "index" => dump::check_offset_index(env, file).map_err(failed)?,
            "timeindex" => dump::check_time_index(env, file).map_err(failed)?,
            // With `*` on the command line logs and snapshots come along; they have no index to check.
            _ => return Ok(()),
        };
        self.problems += problems.len();
        if self.json {
            let line = json!({"file": file.display().to_string(), "problems": problems});
            writeln!(self.out, "{line}")?;
        } else if problems.is_empty() {
            writeln!(self.out, "{}: sound", file.display())?;
        } else {
            for problem in problems {
                writeln!(self.out, "{}: {problem}", file.display())?;
            }
        }
        Ok(())
    }

    /// An entry of an index or a snapshot.
    fn row(&mut self, fields: &[(&str, Value)]) -> Result<(), CliError> {
        if self.json {
            let object: serde_json::Map<String, Value> =
                fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
            writeln!(self.out, "{}", Value::from(object))?;
        } else {
            let text: Vec<String> = fields.iter().map(|(name, value)| format!("{name} {value}")).collect();
            writeln!(self.out, "  {}", text.join("  "))?;
        }
        Ok(())
    }

    fn log(&mut self, env: &Env, file: &Path) -> Result<(), CliError> {
        let mut log = LogDump::open(env, file).map_err(failed)?;
        let mut heading = !self.json;
        for batch in &mut log {
            let batch = batch.map_err(failed)?;
            if std::mem::take(&mut heading) {
                writeln!(
                    self.out,
                    "  {:>12} {:>12} {:>7} {:>9} {:>11} {:>11}  {:<24} {:<6}  notes",
                    "first", "last", "records", "bytes", "position", "producer", "latest timestamp", "codec"
                )?;
            }
            self.batch(&batch)?;
        }
        let trailing = log.trailing();
        if trailing > 0 {
            if self.json {
                let line = json!({"file": file.display().to_string(), "trailingBytes": trailing});
                writeln!(self.out, "{line}")?;
            } else {
                writeln!(self.out, "  {trailing} bytes behind the last whole batch; recovery would cut them off")?;
            }
        }
        Ok(())
    }

    fn batch(&mut self, batch: &BatchRow) -> Result<(), CliError> {
        let header = &batch.header;
        let codec = header.compression().map_or_else(|_| "?".to_owned(), |codec| codec.to_string());
        if !batch.is_valid {
            self.problems += 1;
        }
        if self.json {
            let mut value = json!({
                "baseOffset": header.base_offset,
                "lastOffset": header.last_offset(),
                "count": header.count,
                "size": header.size_in_bytes(),
                "position": batch.position,
                "partitionLeaderEpoch": header.partition_leader_epoch,
                "producerId": header.producer_id,
                "producerEpoch": header.producer_epoch,
                "baseSequence": header.base_sequence,
                "baseTimestamp": header.base_timestamp,
                "maxTimestamp": header.max_timestamp,
                "timestampType": header.timestamp_type().name(),
                "compression": codec,
                "isTransactional": header.is_transactional(),
                "isControl": header.is_control(),
                "crc": header.crc,
                "isValid": batch.is_valid,
            });
            if self.print_data {
                value["records"] = match batch.records() {
                    Ok(records) => records.iter().map(record_json).collect(),
                    Err(error) => Value::from(error.to_string()),
                };
            }
            writeln!(self.out, "{value}")?;
            return Ok(());
        }
        let producer = match header.producer_id {
            -1 => "-".to_owned(),
            id => format!("{id}/{}", header.producer_epoch),
        };
        let notes = [
            (header.is_transactional(), "transactional"),
            (header.is_control(), "control"),
            (header.has_delete_horizon(), "delete horizon"),
            (!batch.is_valid, "WRONG CHECKSUM"),
        ];
        let notes: Vec<&str> = notes.iter().filter(|(applies, _)| *applies).map(|(_, text)| *text).collect();
        let line = format!(
            "  {:>12} {:>12} {:>7} {:>9} {:>11} {:>11}  {:<24} {:<6}  {}",
            header.base_offset,
            header.last_offset(),
            header.count,
            header.size_in_bytes(),
            batch.position,
            producer,
            time(header.max_timestamp),
            codec,
            notes.join(", ")
        );
        writeln!(self.out, "{}", line.trim_end())?;
        if self.print_data {
            match batch.records() {
                Ok(records) => {
                    for record in records {
                        let mut line = format!("      {:>8}  {}", record.offset, time(record.timestamp));
                        line.push_str(&format!("  {} = {}", text(&record.key), text(&record.value)));
                        for (name, value) in &record.headers {
                            line.push_str(&format!("  [{}: {}]", &**name, text(value)));
                        }
                        writeln!(self.out, "{line}")?;
                    }
                }
                Err(error) => {
                    self.problems += 1;
                    writeln!(self.out, "      cannot be read: {error}")?;
                }
            }
        }
        Ok(())
    }
}

fn record_json(record: &ottla::client::Record) -> Value {
    let headers: Vec<Value> =
        record.headers.iter().map(|(name, value)| json!({"key": &**name, "value": bytes_json(value)})).collect();
    json!({
        "offset": record.offset,
        "timestamp": record.timestamp,
        "key": bytes_json(&record.key),
        "value": bytes_json(&record.value),
        "headers": headers,
    })
}

fn bytes_json(bytes: &Option<impl AsRef<[u8]>>) -> Value {
    bytes.as_ref().map_or(Value::Null, |bytes| Value::from(readable(bytes.as_ref())))
}

fn text(bytes: &Option<impl AsRef<[u8]>>) -> String {
    bytes.as_ref().map_or_else(|| "null".to_owned(), |bytes| readable(bytes.as_ref()))
}

/// Text as it is, anything else in hexadecimal.
fn readable(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(|c| c.is_control() && !c.is_whitespace()) => text.to_owned(),
        _ => bytes.iter().fold(String::from("0x"), |mut hex, byte| {
            hex.push_str(&format!("{byte:02x}"));
            hex
        }),
    }
}

/// ms since 1970 as 2013-01-31T23:59:59.999Z.
fn time(ms: i64) -> String {
    if ms < 0 {
        return "-".to_owned();
    }
    let (days, ms_of_day) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    // Howard Hinnant's civil_from_days: years that begin in March put the leap day last.
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let seconds = ms_of_day / 1000;
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        ms_of_day % 1000
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        assert_eq!(time(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(time(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(time(1_359_676_799_999), "2013-01-31T23:59:59.999Z");
        assert_eq!(time(-1), "-");
    }

    #[test]
    fn bytes_are_readable() {
        assert_eq!(readable(b"AA 123"), "AA 123");
        assert_eq!(readable(&[0, 255]), "0x00ff");
        assert_eq!(readable(b""), "");
    }
}
