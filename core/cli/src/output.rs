//! Printing: tables for people, JSON for scripts. A closed pipe comes back as an error, never as a panic.

use crate::error::CliError;
use comfy_table::{CellAlignment, Table, presets};
use serde_json::Value;
use std::io::Write;

/// Writes to stdout.
pub fn write_all(bytes: &[u8]) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()?;
    Ok(())
}

/// Prints one line.
pub fn line(text: &str) -> Result<(), CliError> {
    write_all(format!("{text}\n").as_bytes())
}

/// Writes a line to stderr, for what is no result. Nowhere left to complain if that fails too.
pub fn complain(text: &str) {
    let _ = std::io::stderr().lock().write_all(format!("{text}\n").as_bytes());
}

/// Prints a value, indented.
pub fn json(value: &Value) -> Result<(), CliError> {
    write_all(format!("{value:#}\n").as_bytes())
}

/// A table with a heading and as little ink as possible.
pub fn table(heading: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(heading.iter().map(|name| name.to_uppercase()));
    table
}

/// Right-aligns the columns from `first` to `last`, which hold numbers.
pub fn numbers(table: &mut Table, columns: std::ops::RangeInclusive<usize>) {
    for column in columns {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

/// Prints a table without trailing blanks.
pub fn print(table: &Table) -> Result<(), CliError> {
    let mut text = String::new();
    for row in table.lines() {
        text.push_str(row.trim_end().strip_prefix(' ').unwrap_or(row.trim_end()));
        text.push('\n');
    }
    write_all(text.as_bytes())
}

/// `1234567` as `1 234 567`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::thousands;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1000), "1 000");
        assert_eq!(thousands(1234567), "1 234 567");
    }
}
