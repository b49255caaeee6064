//! A message as a tree, read back from its `Debug` text: every generated struct has it, so nothing here is written per API.
//! Comparing two trees gives the paths at which they differ.

use std::collections::{HashMap, HashSet};
use std::iter::Peekable;
use std::str::Chars;

/// Longer lists of names are sets to everyone (a broker's configs).
const ORDER_SHOWN_MAX: usize = 20;

/// One value of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Tree {
    /// A struct's name and fields.
    Struct(String, Vec<(String, Tree)>),
    /// A `Vec`.
    List(Vec<Tree>),
    /// Everything else as its `Debug` text; `Some(x)` is `x`.
    Leaf(String),
}

impl Tree {
    /// Reads the `{:?}` text of a value.
    pub fn parse(text: &str) -> Tree {
        Parser { chars: text.chars().peekable() }.value()
    }

    /// The leaf at a field of this struct.
    pub fn leaf(&self, field: &str) -> Option<&str> {
        let Tree::Struct(_, fields) = self else { return None };
        fields.iter().find_map(|(name, value)| match value {
            Tree::Leaf(text) if name == field => Some(text.as_str()),
            _ => None,
        })
    }

    /// What tells this struct from the others in its list.
    pub(crate) fn name(&self) -> Option<&str> {
        ["name", "topic", "group_id", "resource_name", "api_key"].iter().find_map(|field| self.leaf(field))
    }

    /// Every leaf with its path; an empty list is a leaf too.
    pub fn flatten(&self) -> Vec<(String, String)> {
        let mut rows = Vec::new();
        self.walk(String::new(), &mut rows);
        rows
    }

    fn walk(&self, path: String, rows: &mut Vec<(String, String)>) {
        match self {
            Tree::Struct(_, fields) => {
                for (name, value) in fields {
                    let dot = if path.is_empty() { "" } else { "." };
                    value.walk(format!("{path}{dot}{name}"), rows);
                }
            }
            Tree::List(items) => {
                rows.push((format!("{path}.len"), items.len().to_string()));
                let names: Vec<Option<&str>> = items.iter().map(Tree::name).collect();
                // Elements with names of their own are found by them, so that a missing one does not shift the rest.
                let distinct = names.iter().collect::<HashSet<_>>().len() == names.len() && !names.contains(&None);
                if distinct && names.len() <= ORDER_SHOWN_MAX {
                    rows.push((format!("{path}.order"), format!("{names:?}")));
                }
                for (index, (item, name)) in items.iter().zip(names).enumerate() {
                    let label = name.filter(|_| distinct).map_or_else(|| index.to_string(), str::to_owned);
                    item.walk(format!("{path}[{label}]"), rows);
                }
            }
            Tree::Leaf(text) => rows.push((path, text.clone())),
        }
    }
}

/// As a person reads it: the text it was read from, in short.
impl std::fmt::Display for Tree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Tree::Struct(name, fields) => {
                write!(f, "{name} {{")?;
                for (index, (field, value)) in fields.iter().enumerate() {
                    write!(f, "{} {field}: {value}", if index == 0 { "" } else { "," })?;
                }
                f.write_str(" }")
            }
            Tree::List(items) => {
                f.write_str("[")?;
                for (index, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if index == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
            Tree::Leaf(text) => f.write_str(text),
        }
    }
}

struct Parser<'a> {
    chars: Peekable<Chars<'a>>,
}

impl Parser<'_> {
    fn value(&mut self) -> Tree {
        self.blanks();
        if self.chars.peek() == Some(&'[') {
            return Tree::List(self.items(']'));
        }
        let word = self.word();
        self.blanks();
        match self.chars.peek() {
            Some('{') => Tree::Struct(word, self.fields()),
            Some('(') => {
                let mut items = self.items(')');
                match (word.as_str(), items.len()) {
                    ("Some", 1) => items.remove(0),
                    _ => Tree::Leaf(format!("{word}{items:?}")),
                }
            }
            _ => Tree::Leaf(word),
        }
    }

    fn blanks(&mut self) {
        while self.chars.next_if(|c| c.is_whitespace()).is_some() {}
    }

    /// A text in quotes, or everything up to the next bracket, comma or colon.
    fn word(&mut self) -> String {
        let mut word = String::new();
        while let Some(c) = self.chars.next_if(|c| !matches!(c, ',' | '{' | '}' | '(' | ')' | '[' | ']' | ':')) {
            word.push(c);
            if c == '"' {
                self.quoted(&mut word);
                break;
            }
        }
        word.trim_end().to_owned()
    }

    fn quoted(&mut self, word: &mut String) {
        while let Some(c) = self.chars.next() {
            word.push(c);
            match c {
                '\\' => word.extend(self.chars.next()),
                '"' => return,
                _ => {}
            }
        }
    }

    fn items(&mut self, end: char) -> Vec<Tree> {
        self.chars.next();
        let mut items = Vec::new();
        loop {
            self.blanks();
            match self.chars.peek() {
                None => return items,
                Some(c) if *c == end => {
                    self.chars.next();
                    return items;
                }
                Some(',') => drop(self.chars.next()),
                Some(_) => items.push(self.value()),
            }
        }
    }

    fn fields(&mut self) -> Vec<(String, Tree)> {
        self.chars.next();
        let mut fields = Vec::new();
        loop {
            self.blanks();
            match self.chars.peek() {
                None => return fields,
                Some('}') => {
                    self.chars.next();
                    return fields;
                }
                Some(',') => drop(self.chars.next()),
                Some(_) => {
                    let name = self.word();
                    if self.chars.next_if_eq(&':').is_none() {
                        // Not a field: skipping one character keeps the parser from standing still.
                        self.chars.next();
                        continue;
                    }
                    fields.push((name, self.value()));
                }
            }
        }
    }
}

/// The paths at which two answers differ, each with both values.
pub fn differences(left: &Tree, right: &Tree) -> Vec<(String, String, String)> {
    let (left, right) = (left.flatten(), right.flatten());
    let absent = || "(absent)".to_owned();
    let map = |rows: &[(String, String)]| rows.iter().cloned().collect::<HashMap<String, String>>();
    let (in_left, in_right) = (map(&left), map(&right));
    let mut found = Vec::new();
    for (path, value) in &left {
        match in_right.get(path) {
            Some(other) if other == value => {}
            other => found.push((path.clone(), value.clone(), other.cloned().unwrap_or_else(absent))),
        }
    }
    for (path, value) in &right {
        if !in_left.contains_key(path) {
            found.push((path.clone(), absent(), value.clone()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_text_reads_back_as_a_tree() {
        let text =
            r#"R { code: 3, name: Some("a, \"b\" {"), list: [P { id: -1, none: None }, P { id: 2, none: Some(4) }] }"#;
        let rows = Tree::parse(text).flatten();
        let expected = [
            ("code", "3"),
            ("name", r#""a, \"b\" {""#),
            ("list.len", "2"),
            ("list[0].id", "-1"),
            ("list[0].none", "None"),
            ("list[1].id", "2"),
            ("list[1].none", "4"),
        ];
        assert_eq!(rows, expected.map(|(path, value)| (path.to_owned(), value.to_owned())));
    }

    #[test]
    fn a_difference_names_its_path() {
        let (left, right) = (Tree::parse("R { a: 1, l: [P { b: 2 }] }"), Tree::parse("R { a: 1, l: [P { b: 3 }] }"));
        assert_eq!(differences(&left, &right), [("l[0].b".to_owned(), "2".to_owned(), "3".to_owned())]);
        assert!(differences(&left, &left).is_empty());
    }
}
