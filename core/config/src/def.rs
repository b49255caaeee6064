//! What a row of the tables is made of, and how a value is read and checked against it.
//!
//! The parsing rules are those of Kafka's `ConfigDef`: blanks around a value do not count, lists are split at commas,
//! numbers are decimal. The error texts are Kafka's too, because its tools show them to people.

use crate::ConfigError;

/// One config: a row of a table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ConfigDef {
    /// Kafka's dotted name.
    pub name: &'static str,
    pub kind: Type,
    pub default: DefaultValue,
    pub validator: Validator,
    pub importance: Importance,
    pub dynamic: Dynamic,
    pub status: Status,
    /// What it does, in a few words.
    pub doc: &'static str,
}

/// The type of a config's value. The codes of DescribeConfigs are [`Type::code`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    Boolean,
    String,
    Int,
    Short,
    Long,
    Double,
    List,
    Class,
    Password,
}

impl Type {
    /// The type's code in DescribeConfigs (0 is unknown).
    pub fn code(self) -> i8 {
        match self {
            Type::Boolean => 1,
            Type::String => 2,
            Type::Int => 3,
            Type::Short => 4,
            Type::Long => 5,
            Type::Double => 6,
            Type::List => 7,
            Type::Class => 8,
            Type::Password => 9,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Type::Boolean => "BOOLEAN",
            Type::String => "STRING",
            Type::Int => "INT",
            Type::Short => "SHORT",
            Type::Long => "LONG",
            Type::Double => "DOUBLE",
            Type::List => "LIST",
            Type::Class => "CLASS",
            Type::Password => "PASSWORD",
        }
    }
}

/// What a config is when nobody set it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefaultValue {
    /// This value, written as a user would.
    Value(&'static str),
    /// Unset; usually another config decides then.
    Null,
    /// Must be set (or a [`crate::Profile`] sets it).
    Required,
}

/// How much a user should care. `Internal` ones are known but not shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Importance {
    High,
    Medium,
    Low,
    Internal,
}

/// Where a config may be changed while the broker runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dynamic {
    ReadOnly,
    PerBroker,
    /// For one broker or for all.
    ClusterWide,
    PerTopic,
}

/// Whether Ottla does what the config says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It has its effect; a test changes it and sees it.
    Implemented,
    /// Read and checked, without effect; setting it to something else is a warning at start.
    Ignored,
}

/// What a value must be, beyond its type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Validator {
    Any,
    AtLeast(i64),
    /// Both ends included.
    Between(i64, i64),
    BetweenF(f64, f64),
    OneOf(&'static [&'static str]),
    OneOfIgnoreCase(&'static [&'static str]),
    NonEmpty,
    /// A list without duplicates, maybe empty.
    List,
    NonEmptyList,
    /// A list of these, maybe empty.
    ListOf(&'static [&'static str]),
    NonEmptyListOf(&'static [&'static str]),
    /// 1 to 9, or -1.
    GzipLevel,
    /// `*`, or `partition:broker` pairs.
    ThrottledReplicas,
    /// auto.offset.reset's values.
    OffsetReset,
}

/// A value that has been read by its type.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Bool(bool),
    /// Short, int and long.
    Int(i64),
    Double(f64),
    /// String, class and password.
    Str(String),
    List(Vec<String>),
}

impl Value {
    /// The value as DescribeConfigs shows it.
    pub fn to_text(&self) -> String {
        match self {
            Value::Bool(b) => b.to_string(),
            Value::Int(n) => n.to_string(),
            Value::Double(d) if *d == f64::MAX => "1.7976931348623157E308".to_owned(),
            Value::Double(d) => format!("{d:?}"),
            Value::Str(s) => s.clone(),
            Value::List(list) => list.join(","),
        }
    }
}

impl ConfigDef {
    /// True for configs that DescribeConfigs leaves out.
    pub fn is_internal(&self) -> bool {
        self.importance == Importance::Internal
    }

    /// True when the value must not be shown.
    pub fn is_sensitive(&self) -> bool {
        self.kind == Type::Password
    }

    /// Reads and checks a value. The error says what was expected.
    pub fn parse(&self, text: &str) -> Result<Value, ConfigError> {
        let value = self.read(text)?;
        self.check(text, &value)?;
        Ok(value)
    }

    fn read(&self, text: &str) -> Result<Value, ConfigError> {
        let trimmed = text.trim();
        let not_a_number =
            || ConfigError::value(self.name, text, format_args!("Not a number of type {}", self.kind.name()));
        let integer = |min: i64, max: i64| match trimmed.parse::<i64>() {
            Ok(n) if (min..=max).contains(&n) => Ok(Value::Int(n)),
            _ => Err(not_a_number()),
        };
        match self.kind {
            Type::Boolean if trimmed.eq_ignore_ascii_case("true") => Ok(Value::Bool(true)),
            Type::Boolean if trimmed.eq_ignore_ascii_case("false") => Ok(Value::Bool(false)),
            Type::Boolean => Err(ConfigError::value(self.name, text, "Expected value to be either true or false")),
            Type::Short => integer(i16::MIN.into(), i16::MAX.into()),
            Type::Int => integer(i32::MIN.into(), i32::MAX.into()),
            Type::Long => integer(i64::MIN, i64::MAX),
            Type::Double => trimmed.parse().map(Value::Double).map_err(|_| not_a_number()),
            Type::String | Type::Class | Type::Password => Ok(Value::Str(trimmed.to_owned())),
            Type::List if trimmed.is_empty() => Ok(Value::List(Vec::new())),
            Type::List => Ok(Value::List(trimmed.split(',').map(|part| part.trim().to_owned()).collect())),
        }
    }

    fn check(&self, text: &str, value: &Value) -> Result<(), ConfigError> {
        let fail = |expected: String| Err(ConfigError::value(self.name, text, expected));
        match (self.validator, value) {
            (Validator::AtLeast(min), Value::Int(n)) if *n < min => fail(format!("Value must be at least {min}")),
            (Validator::Between(min, _), Value::Int(n)) if *n < min => fail(format!("Value must be at least {min}")),
            (Validator::Between(_, max), Value::Int(n)) if *n > max => {
                fail(format!("Value must be no more than {max}"))
            }
            // A NaN is in no range.
            (Validator::BetweenF(min, max), Value::Double(d)) if !(min..=max).contains(d) => {
                fail(format!("Value must be at least {min} and no more than {max}"))
            }
            (Validator::GzipLevel, Value::Int(n)) if *n != -1 && !(1..=9).contains(n) => {
                fail("Value must be between 1 and 9 or equal to -1".to_owned())
            }
            (Validator::OneOf(names), Value::Str(s)) if !names.contains(&s.as_str()) => {
                fail(format!("String must be one of: {}", names.join(", ")))
            }
            (Validator::OneOfIgnoreCase(names), Value::Str(s)) if !names.iter().any(|n| n.eq_ignore_ascii_case(s)) => {
                fail(format!("String must be one of (case insensitive): {}", names.join(", ")))
            }
            (Validator::NonEmpty, Value::Str(s)) if s.is_empty() => fail("String must be non-empty".to_owned()),
            (Validator::OffsetReset, Value::Str(s)) if !is_offset_reset(s) => {
                fail("must be earliest, latest, none or by_duration:PnDTnHnMn.nS".to_owned())
            }
            (Validator::ThrottledReplicas, Value::List(list)) if !is_throttled_replicas(list) => fail(format!(
                "{} must be the literal '*' or a list of replicas in the following format: \
                 [partitionId]:[brokerId],[partitionId]:[brokerId],...",
                self.name
            )),
            (validator, Value::List(list)) => self.check_list(text, validator, list),
            _ => Ok(()),
        }
    }

    fn check_list(&self, text: &str, validator: Validator, list: &[String]) -> Result<(), ConfigError> {
        let (names, may_be_empty): (&[&str], bool) = match validator {
            Validator::List => (&[], true),
            Validator::NonEmptyList => (&[], false),
            Validator::ListOf(names) => (names, true),
            Validator::NonEmptyListOf(names) => (names, false),
            _ => return Ok(()),
        };
        if list.is_empty() && !may_be_empty {
            return Err(ConfigError::value(self.name, text, "must not be empty"));
        }
        for (i, item) in list.iter().enumerate() {
            if item.is_empty() {
                return Err(ConfigError::value(self.name, text, "values must not be empty"));
            }
            if list[..i].contains(item) {
                return Err(ConfigError::value(self.name, text, "values must not be duplicated"));
            }
            if !names.is_empty() && !names.contains(&item.as_str()) {
                let expected = format!("String must be one of: {}", names.join(", "));
                return Err(ConfigError::value(self.name, item, expected));
            }
        }
        Ok(())
    }
}

fn is_offset_reset(s: &str) -> bool {
    let lower = s.to_ascii_lowercase();
    matches!(lower.as_str(), "earliest" | "latest" | "none")
        || lower.strip_prefix("by_duration:").is_some_and(|d| d.starts_with('p') && d.len() > 2)
}

fn is_throttled_replicas(list: &[String]) -> bool {
    let pair = |item: &String| match item.split_once(':') {
        Some((partition, broker)) => partition.parse::<u32>().is_ok() && broker.parse::<u32>().is_ok(),
        None => false,
    };
    list.is_empty() || matches!(list, [one] if one == "*" || one == "none") || list.iter().all(pair)
}

/// Writes a table of [`ConfigDef`]s, one config a line:
/// `"name" Type default Validator, Importance Dynamic Status "doc";` where default is a text, `null` or `required`.
macro_rules! table {
    ($(#[$meta:meta])* $table:ident; $($name:literal $kind:ident $default:tt $validator:expr,
      $importance:ident $dynamic:ident $status:ident $doc:literal;)*) => {
        $(#[$meta])*
        pub static $table: &[$crate::ConfigDef] = {
            #[allow(unused_imports, reason = "not every table needs every validator")]
            use $crate::Validator::*;
            &[$($crate::ConfigDef {
                name: $name,
                kind: $crate::Type::$kind,
                default: table!(@default $default),
                validator: $validator,
                importance: $crate::Importance::$importance,
                dynamic: $crate::Dynamic::$dynamic,
                status: $crate::Status::$status,
                doc: $doc,
            }),*]
        };
    };
    (@default null) => { $crate::DefaultValue::Null };
    (@default required) => { $crate::DefaultValue::Required };
    (@default $value:literal) => { $crate::DefaultValue::Value($value) };
}
