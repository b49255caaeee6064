//! Lines of standard input or of a file, read on the blocking pool: as many at once as are there, and none waits for the
//! next.

use crate::error::CliError;
use ottla::env::{Env, File, OpenMode};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

/// Bytes read ahead.
const BUFFER: usize = 256 * 1024;
/// A longer line is no line: no broker takes such a record with its defaults.
const LINE_MAX: usize = 64 * 1024 * 1024;

/// Where lines come from.
pub struct Lines {
    /// Away while a read is going on.
    from: Option<BufReader<Box<dyn Read + Send>>>,
}

impl Lines {
    /// Lines of a file, or of standard input.
    pub fn open(path: Option<&Path>) -> Result<Lines, CliError> {
        let from: Box<dyn Read + Send> = match path {
            None => Box::new(std::io::stdin()),
            Some(path) => {
                let file = Env::real().fs().open(path, OpenMode::Read);
                let file = file.map_err(|error| CliError::Usage(format!("cannot read {}: {error}", path.display())))?;
                Box::new(Whole { file, position: 0 })
            }
        };
        Ok(Lines { from: Some(BufReader::with_capacity(BUFFER, from)) })
    }

    /// The next lines without their ends: at least one, and all others that are in the buffer; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Vec<Vec<u8>>>, CliError> {
        let mut from = self.from.take().ok_or_else(|| CliError::Failed("the input was given up".to_owned()))?;
        let (from, lines) = Env::real()
            .blocking(move || {
                let lines = some_lines(&mut from);
                (from, lines)
            })
            .await;
        self.from = Some(from);
        let lines = lines?;
        Ok(if lines.is_empty() { None } else { Some(lines) })
    }
}

fn some_lines(from: &mut BufReader<impl Read>) -> std::io::Result<Vec<Vec<u8>>> {
    let mut lines = Vec::new();
    loop {
        let mut line = Vec::new();
        if from.by_ref().take(LINE_MAX as u64).read_until(b'\n', &mut line)? == 0 {
            return Ok(lines);
        }
        if line.last() == Some(&b'\n') {
            line.pop();
            if line.last() == Some(&b'\r') {
                line.pop();
            }
        } else if line.len() == LINE_MAX {
            return Err(std::io::Error::other(format!("a line of more than {LINE_MAX} bytes")));
        }
        lines.push(line);
        if !from.buffer().contains(&b'\n') {
            return Ok(lines);
        }
    }
}

/// A file from its beginning to its end.
struct Whole {
    file: File,
    position: u64,
}

impl Read for Whole {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let bytes = self.file.read_at(self.position, into.len())?;
        into[..bytes.len()].copy_from_slice(&bytes);
        self.position += bytes.len() as u64;
        Ok(bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_in_either_way_and_the_last_one_need_not() {
        let mut from = BufReader::new(&b"a\r\n\nb c\nlast"[..]);
        let mut all = Vec::new();
        loop {
            let some = some_lines(&mut from).expect("memory can be read");
            if some.is_empty() {
                break;
            }
            all.extend(some);
        }
        assert_eq!(all, [&b"a"[..], b"", b"b c", b"last"]);
    }
}
