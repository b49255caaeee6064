//! Java's `.properties` format: comments, continuation lines, escapes.
//!
//! Deliberately not here: reading the file, and what the keys mean.

use crate::ConfigError;

/// The pairs of a `.properties` text, in file order; a key that comes twice is given twice and the last one counts.
///
/// Fails only for a broken `\u` escape, naming the line.
pub fn parse(text: &str) -> Result<Vec<(String, String)>, ConfigError> {
    let mut pairs = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let line = line.trim_start_matches(is_blank);
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = line.to_owned();
        while continues(&logical) {
            logical.pop();
            match lines.next() {
                Some((_, next)) => logical.push_str(next.trim_start_matches(is_blank)),
                None => break,
            }
        }
        let (key, value) = split(&logical);
        let unescape = |part| unescape(part).map_err(|e| ConfigError::new("", format!("line {}: {e}", number + 1)));
        pairs.push((unescape(key)?, unescape(value)?));
    }
    Ok(pairs)
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{c}')
}

/// A line goes on when it ends in an odd number of backslashes.
fn continues(line: &str) -> bool {
    line.bytes().rev().take_while(|b| *b == b'\\').count() % 2 == 1
}

/// Splits at the first unescaped `=`, `:` or blank; blanks around the separator belong to neither side.
fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = line
        .char_indices()
        .find(|(_, c)| {
            let separator = !escaped && (is_blank(*c) || matches!(c, '=' | ':'));
            escaped = *c == '\\' && !escaped;
            separator
        })
        .map_or(line.len(), |(i, _)| i);
    let rest = line[end..].trim_start_matches(is_blank);
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (&line[..end], rest.trim_start_matches(is_blank))
}

fn unescape(text: &str) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    // Java writes characters beyond 16 bits as two escapes, a surrogate pair.
    let mut high: Option<u16> = None;
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('t') => out.push('\t'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('f') => out.push('\u{c}'),
            Some('u') => {
                let digits: String = chars.by_ref().take(4).collect();
                let unit = u16::from_str_radix(&digits, 16)
                    .ok()
                    .filter(|_| digits.len() == 4)
                    .ok_or_else(|| format!("malformed escape \\u{digits}, expected four hexadecimal digits"))?;
                match (high.take(), unit) {
                    (None, 0xd800..0xdc00) => high = Some(unit),
                    (first, unit) => out.extend(
                        char::decode_utf16(first.into_iter().chain([unit]))
                            .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)),
                    ),
                }
            }
            Some(other) => out.push(other),
            None => {}
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(&str, &str)]) {
        let pairs = parse(text).unwrap();
        let pairs: Vec<_> = pairs.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(pairs, expected);
    }

    #[test]
    fn java_properties() {
        check("# c\n! c\n\n  \nnode.id=1\nlog.dirs = /a , /b \n", &[("node.id", "1"), ("log.dirs", "/a , /b ")]);
        check("a:1\nb 2\nc\nd = = x\r\ne:=x", &[("a", "1"), ("b", "2"), ("c", ""), ("d", "= x"), ("e", "=x")]);
        check("listeners=A://:1,\\\n   B://:2\nx=1", &[("listeners", "A://:1,B://:2"), ("x", "1")]);
        check("a\\ b\\=c=v\\\\\nw=1\\", &[("a b=c", "v\\"), ("w", "1")]);
        check("u=\\u00e4\\ud83d\\ude00\\tx\\q", &[("u", "ä😀\txq")]);
        // Four blanks may be a continuation's indent, a comment sign inside a continuation is text.
        check("k=a\\\n  #b", &[("k", "a#b")]);
    }

    #[test]
    fn broken_escape_names_the_line() {
        assert_eq!(
            parse("a=1\nb=\\u12").unwrap_err().message,
            "line 2: malformed escape \\u12, expected four hexadecimal digits"
        );
    }
}
