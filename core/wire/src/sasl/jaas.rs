//! `sasl.jaas.config` in Java's syntax: `org.example.LoginModule required key="value" key=value;`.

use crate::security::Secret;
use std::collections::BTreeMap;

/// One login module and its options. The values may be secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Jaas {
    pub(crate) module: String,
    pub(crate) options: BTreeMap<String, Secret>,
}

impl Jaas {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.options.get(name).map(Secret::reveal)
    }

    /// The options whose names begin with `prefix`, without it.
    pub(crate) fn with_prefix(&self, prefix: &str) -> Vec<(String, String)> {
        let found = self
            .options
            .iter()
            .filter_map(|(name, value)| Some((name.strip_prefix(prefix)?.to_owned(), value.reveal().to_owned())));
        found.collect()
    }

    /// Reads the config's value. What an error shows of it is never an option's value.
    pub(crate) fn parse(text: &str) -> Result<Jaas, String> {
        let mut tokens = Tokens { rest: text };
        let module = tokens.word()?.ok_or("it is empty; expected: LoginModule required key=\"value\" ...;")?;
        let flag = tokens.word()?.unwrap_or_default();
        if !["required", "requisite", "sufficient", "optional"].iter().any(|f| flag.eq_ignore_ascii_case(f)) {
            return Err(format!("expected \"required\" after {module}"));
        }
        let mut options = BTreeMap::new();
        loop {
            match tokens.next_char() {
                Some(';') => {
                    tokens.advance(1);
                    break;
                }
                None => return Err("it has to end with a semicolon".to_owned()),
                Some(_) => {
                    let key = tokens.word()?.ok_or("expected key=value or a semicolon")?;
                    if tokens.next_char() != Some('=') {
                        return Err(format!("expected = after {key}"));
                    }
                    tokens.advance(1);
                    let value = tokens.word()?.ok_or_else(|| format!("expected a value after {key}="))?;
                    options.insert(key, Secret::new(value));
                }
            }
        }
        match tokens.next_char() {
            None => Ok(Jaas { module, options }),
            Some(_) => Err("it names more than one login module".to_owned()),
        }
    }
}

struct Tokens<'a> {
    rest: &'a str,
}

impl Tokens<'_> {
    fn advance(&mut self, bytes: usize) {
        self.rest = &self.rest[bytes..];
    }

    /// The next character after blanks and comments.
    fn next_char(&mut self) -> Option<char> {
        loop {
            self.rest = self.rest.trim_start();
            if self.rest.starts_with("//") {
                self.rest = self.rest.find('\n').map_or("", |end| &self.rest[end..]);
            } else if self.rest.starts_with("/*") {
                self.rest = self.rest.find("*/").map_or("", |end| &self.rest[end + 2..]);
            } else {
                return self.rest.chars().next();
            }
        }
    }

    /// The next word or quoted text; `None` where something else comes.
    fn word(&mut self) -> Result<Option<String>, String> {
        match self.next_char() {
            Some(quote @ ('"' | '\'')) => self.quoted(quote).map(Some),
            Some(c) if c != ';' && c != '=' => {
                let end = |c: char| c.is_whitespace() || matches!(c, ';' | '=' | '"' | '\'');
                let end = self.rest.find(end).unwrap_or(self.rest.len());
                let word = self.rest[..end].to_owned();
                self.advance(end);
                Ok(Some(word))
            }
            _ => Ok(None),
        }
    }

    fn quoted(&mut self, quote: char) -> Result<String, String> {
        let mut text = String::new();
        let mut chars = self.rest.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => match chars.next() {
                    Some((_, 'n')) => text.push('\n'),
                    Some((_, 't')) => text.push('\t'),
                    Some((_, 'r')) => text.push('\r'),
                    Some((_, other)) => text.push(other),
                    None => break,
                },
                c if c == quote => {
                    self.advance(at + 1);
                    return Ok(text);
                }
                c => text.push(c),
            }
        }
        Err("a quotation mark is not closed".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn javas_syntax() {
        let jaas = Jaas::parse(
            "org.apache.kafka.common.security.plain.PlainLoginModule REQUIRED // who\n username=\"al\\\"ice\" \
             password='a=b;c' /* more */ n=1.5-x;",
        )
        .unwrap();
        assert_eq!(jaas.module, "org.apache.kafka.common.security.plain.PlainLoginModule");
        assert_eq!(jaas.get("username"), Some("al\"ice"));
        assert_eq!(jaas.get("password"), Some("a=b;c"));
        assert_eq!(jaas.get("n"), Some("1.5-x"));
        assert_eq!(jaas.with_prefix("pass"), [("word".to_owned(), "a=b;c".to_owned())]);
    }

    #[test]
    fn what_is_wrong_is_said_without_the_secret() {
        for (text, says) in [
            ("", "empty"),
            ("Module", "required"),
            ("Module needed password=swordfish;", "required"),
            ("Module required password=\"swordfish\"", "semicolon"),
            ("Module required password=\"swordfish", "quotation mark"),
            ("Module required password \"swordfish\";", "= after password"),
            ("Module required password=;", "value after password"),
            ("A required; B required;", "more than one"),
        ] {
            let error = Jaas::parse(text).unwrap_err();
            assert!(error.contains(says) && !error.contains("swordfish"), "{text}: {error}");
        }
    }
}
