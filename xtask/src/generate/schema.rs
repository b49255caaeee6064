//! One schema as data: structs, fields and their version ranges. It knows Kafka's schema language and nothing about Rust but
//! the spelling of names.

use serde_json::Value;

/// An inclusive range of versions; empty when `low > high`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    pub low: i16,
    pub high: i16,
}

impl Versions {
    pub const NONE: Versions = Versions { low: 0, high: -1 };

    fn parse(text: &str) -> Result<Versions, String> {
        let number = |text: &str| text.parse::<i16>().map_err(|_| format!("'{text}' is not a version"));
        let text = text.trim();
        if text == "none" {
            return Ok(Versions::NONE);
        }
        if let Some(low) = text.strip_suffix('+') {
            return Ok(Versions { low: number(low)?, high: i16::MAX });
        }
        match text.split_once('-') {
            Some((low, high)) => Ok(Versions { low: number(low)?, high: number(high)? }),
            None => Ok(Versions { low: number(text)?, high: number(text)? }),
        }
    }

    pub fn is_empty(self) -> bool {
        self.low > self.high
    }

    pub fn and(self, other: Versions) -> Versions {
        let both = Versions { low: self.low.max(other.low), high: self.high.min(other.high) };
        if both.is_empty() { Versions::NONE } else { both }
    }

    /// The smallest range that holds both.
    fn hull(self, other: Versions) -> Versions {
        if self.is_empty() {
            return other;
        }
        if other.is_empty() {
            return self;
        }
        Versions { low: self.low.min(other.low), high: self.high.max(other.high) }
    }

    pub fn covers(self, other: Versions) -> bool {
        other.is_empty() || (self.low <= other.low && self.high >= other.high)
    }

    pub fn contains(self, version: i16) -> bool {
        self.low <= version && version <= self.high
    }
}

/// What a field holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    /// A fixed-size value, by its Rust name, with its size on the wire.
    Fixed(&'static str, usize),
    String,
    Bytes,
    Records,
    Struct(String),
    Array(Box<Type>),
}

#[derive(Clone, Debug)]
pub struct Field {
    pub name: String,
    pub kind: Type,
    pub versions: Versions,
    pub nullable: Versions,
    /// The tag of a tagged field, which then has it in all of `versions`.
    pub tag: Option<u32>,
    pub ignorable: bool,
    /// As the schema spells it.
    pub default: Option<String>,
    /// A field that stays in the old encoding in flexible versions (the client id of the request header).
    pub never_flexible: bool,
}

#[derive(Clone, Debug)]
pub struct Struct {
    pub name: String,
    /// The versions in which some field of the message leads here.
    pub versions: Versions,
    pub fields: Vec<Field>,
}

#[derive(Clone, Debug)]
pub struct Message {
    pub name: String,
    /// The schema's "type": request, response, header, data, metadata, coordinator-key, coordinator-value.
    pub kind: String,
    pub api_key: Option<i16>,
    pub listeners: Vec<String>,
    pub versions: Versions,
    pub flexible: Versions,
    pub unstable: bool,
    /// The first is the message itself.
    pub structs: Vec<Struct>,
}

/// Reads one schema.
pub fn parse(json: &str) -> Result<Message, String> {
    let value: Value = serde_json::from_str(json).map_err(|e| format!("a schema is not JSON: {e}"))?;
    let name = text(&value, "name").ok_or("a schema has no name")?;
    let versions = Versions::parse(&text(&value, "validVersions").ok_or(format!("{name} has no validVersions"))?)?;
    let flexible = match text(&value, "flexibleVersions") {
        Some(text) => Versions::parse(&text)?,
        None => Versions::NONE,
    };
    let mut structs = vec![Struct { name: name.clone(), versions, fields: fields(&value)? }];
    for field in list(&value, "fields") {
        inline_structs(field, &mut structs)?;
    }
    for common in list(&value, "commonStructs") {
        let name = text(common, "name").ok_or("a common struct has no name")?;
        structs.push(Struct { name, versions: Versions::NONE, fields: fields(common)? });
        for field in list(common, "fields") {
            inline_structs(field, &mut structs)?;
        }
    }
    reach(&mut structs, versions);
    structs.retain(|s| s.name == name || !s.versions.is_empty());
    Ok(Message {
        kind: text(&value, "type").ok_or(format!("{name} has no type"))?,
        api_key: value.get("apiKey").and_then(Value::as_i64).and_then(|key| i16::try_from(key).ok()),
        listeners: list(&value, "listeners").iter().filter_map(|l| l.as_str().map(str::to_owned)).collect(),
        unstable: value.get("latestVersionUnstable").and_then(Value::as_bool).unwrap_or(false),
        name,
        versions,
        flexible,
        structs,
    })
}

fn inline_structs(field: &Value, structs: &mut Vec<Struct>) -> Result<(), String> {
    if field.get("fields").is_none() {
        return Ok(());
    }
    let kind = text(field, "type").ok_or("a field has no type")?;
    let name = kind.trim_start_matches("[]").to_owned();
    if structs.iter().any(|s| s.name == name) {
        return Err(format!("struct {name} is defined twice"));
    }
    structs.push(Struct { name, versions: Versions::NONE, fields: fields(field)? });
    list(field, "fields").iter().try_for_each(|inner| inline_structs(inner, structs))
}

/// Walks from the message down and widens each struct's versions by those of the fields that lead to it.
fn reach(structs: &mut [Struct], versions: Versions) {
    structs[0].versions = versions;
    loop {
        let mut changed = false;
        for at in 0..structs.len() {
            for field in structs[at].fields.clone() {
                let element = if let Type::Array(element) = &field.kind { element.as_ref() } else { &field.kind };
                let Type::Struct(name) = element else { continue };
                let here = structs[at].versions.and(field.versions);
                let Some(inner) = structs.iter_mut().find(|s| s.name == *name) else { continue };
                let wider = inner.versions.hull(here);
                changed |= wider != inner.versions;
                inner.versions = wider;
            }
        }
        if !changed {
            return;
        }
    }
}

fn fields(value: &Value) -> Result<Vec<Field>, String> {
    list(value, "fields").iter().map(field).collect()
}

fn field(value: &Value) -> Result<Field, String> {
    let name = text(value, "name").ok_or("a field has no name")?;
    let range = |key: &str| text(value, key).map(|text| Versions::parse(&text)).transpose();
    let tagged = range("taggedVersions")?;
    let versions = range("versions")?.or(tagged).ok_or(format!("field {name} has no versions"))?;
    if tagged.is_some_and(|tagged| tagged != versions) {
        return Err(format!("field {name} is tagged in only some of its versions, which the generator does not know"));
    }
    let kind = kind(&text(value, "type").ok_or(format!("field {name} has no type"))?);
    if tagged.is_some() && kind == Type::Records {
        return Err(format!("field {name} is a tagged records field, which the generator does not know"));
    }
    Ok(Field {
        kind,
        versions,
        nullable: range("nullableVersions")?.unwrap_or(Versions::NONE),
        tag: value.get("tag").and_then(Value::as_u64).and_then(|tag| u32::try_from(tag).ok()),
        ignorable: value.get("ignorable").is_some_and(|v| v.as_bool() == Some(true) || v.as_str() == Some("true")),
        // JSON's null is no default at all to Kafka's generator; the text "null" is the null value.
        default: value
            .get("default")
            .filter(|v| !v.is_null())
            .map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned)),
        never_flexible: text(value, "flexibleVersions").as_deref() == Some("none"),
        name,
    })
}

fn kind(text: &str) -> Type {
    if let Some(element) = text.strip_prefix("[]") {
        return Type::Array(Box::new(kind(element)));
    }
    match text {
        "bool" => Type::Fixed("bool", 1),
        "int8" => Type::Fixed("i8", 1),
        "int16" => Type::Fixed("i16", 2),
        "uint16" => Type::Fixed("u16", 2),
        "int32" => Type::Fixed("i32", 4),
        "uint32" => Type::Fixed("u32", 4),
        "int64" => Type::Fixed("i64", 8),
        "float64" => Type::Fixed("f64", 8),
        "uuid" => Type::Fixed("Uuid", 16),
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "records" => Type::Records,
        name => Type::Struct(name.to_owned()),
    }
}

fn text(value: &Value, key: &str) -> Option<String> {
    value.get(key).and_then(Value::as_str).map(str::to_owned)
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// `TopicId` → `topic_id`, `V3AndBelowTopics` → `v3_and_below_topics`, `KRaftVersion` → `kraft_version`.
pub fn snake(name: &str) -> String {
    let name = name.replace("KRaft", "Kraft");
    let mut out = String::with_capacity(name.len() + 8);
    for (at, c) in name.char_indices() {
        if c.is_ascii_uppercase() && at > 0 {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_parse_and_meet() {
        let all = Versions { low: 3, high: 13 };
        assert_eq!(Versions::parse("3-13"), Ok(all));
        assert_eq!(Versions::parse("9+").map(|v| v.and(all)), Ok(Versions { low: 9, high: 13 }));
        assert_eq!(Versions::parse("0-2").map(|v| v.and(all)), Ok(Versions::NONE));
        assert!(Versions::parse("0+").is_ok_and(|v| v.covers(all)));
        assert!(Versions::parse("x").is_err());
    }

    #[test]
    fn names_are_snake_case() {
        assert_eq!(snake("KRaftVersionRecord"), "kraft_version_record");
        assert_eq!(snake("V3AndBelowProducerId"), "v3_and_below_producer_id");
        assert_eq!(snake("Enable2Pc"), "enable2_pc");
    }

    #[test]
    fn a_struct_lives_where_its_field_does() {
        let message = parse(
            r#"{"type":"request","name":"XRequest","apiKey":1,"validVersions":"0-5","flexibleVersions":"4+","fields":[
                {"name":"A","type":"[]B","versions":"2+","fields":[{"name":"C","type":"int32","versions":"0+","default":"0x10"}]}]}"#,
        )
        .unwrap();
        assert_eq!(message.structs[1].versions, Versions { low: 2, high: 5 });
        assert_eq!(message.structs[1].fields[0].default.as_deref(), Some("0x10"));
    }
}
