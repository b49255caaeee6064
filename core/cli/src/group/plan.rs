//! What reset-offsets is to do, worked out without a cluster: specs of topics and times, shifts, bounds, CSV.

use ottla::client::TopicPartition;
use std::collections::BTreeMap;
use std::time::Duration;

/// `TOPIC` or `TOPIC:0,1`.
pub fn topic_spec(text: &str) -> Result<(&str, Option<Vec<i32>>), String> {
    // A topic's name has no colon.
    let Some((topic, indexes)) = text.split_once(':') else { return Ok((text, None)) };
    let index = |part: &str| part.trim().parse::<i32>().ok().filter(|index| *index >= 0);
    let indexes: Option<Vec<i32>> = indexes.split(',').map(index).collect();
    match indexes {
        Some(indexes) if !topic.is_empty() => Ok((topic, Some(indexes))),
        _ => Err(format!("{text:?}: expected TOPIC or TOPIC:0,1")),
    }
}

/// An ISO 8601 duration, as `P7D` or `PT1H30M`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?}: expected a duration as P7D, PT1H30M or PT90S");
    let rest = text.strip_prefix('P').ok_or_else(wrong)?;
    let (days, times) = match rest.split_once('T') {
        Some((days, times)) if !times.is_empty() => (days, times),
        Some(_) => return Err(wrong()),
        None => (rest, ""),
    };
    let mut seconds = 0.0;
    let mut any = false;
    let mut take = |part: &str, units: &[(char, f64)]| -> Result<(), String> {
        let mut number = String::new();
        let mut units = units.iter();
        for letter in part.chars() {
            if letter.is_ascii_digit() || letter == '.' {
                number.push(letter);
                continue;
            }
            let (_, factor) = units.find(|(unit, _)| *unit == letter).ok_or_else(wrong)?;
            seconds += number.parse::<f64>().map_err(|_| wrong())? * factor;
            number.clear();
            any = true;
        }
        if number.is_empty() { Ok(()) } else { Err(wrong()) }
    };
    take(days, &[('W', 604_800.0), ('D', 86_400.0)])?;
    take(times, &[('H', 3_600.0), ('M', 60.0), ('S', 1.0)])?;
    if any { Duration::try_from_secs_f64(seconds).map_err(|_| wrong()) } else { Err(wrong()) }
}

/// Where a partition's offset is to go, before it is bounded by what there is.
pub fn bounded(wanted: i64, earliest: i64, latest: i64) -> i64 {
    wanted.clamp(earliest, latest)
}

/// Offsets as CSV, as Kafka's tool exports them: with a group where there are several, `group,topic,partition,offset`.
pub fn to_csv(offsets: &BTreeMap<TopicPartition, i64>) -> String {
    let rows =
        offsets.iter().map(|(partition, offset)| format!("{},{},{offset}\n", partition.topic, partition.partition));
    rows.collect()
}

/// Reads `topic,partition,offset` lines, or `group,topic,partition,offset` of which those of `group` count.
pub fn from_csv(text: &str, group: &str) -> Result<BTreeMap<TopicPartition, i64>, String> {
    let mut offsets = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let fields: Vec<&str> = line.split(',').map(|field| field.trim().trim_matches('"')).collect();
        let wrong = || format!("line {}: expected topic,partition,offset but got {line:?}", number + 1);
        let (topic, partition, offset) = match fields[..] {
            [topic, partition, offset] => (topic, partition, offset),
            [of, topic, partition, offset] if of == group => (topic, partition, offset),
            [_, _, _, _] => continue,
            _ => return Err(wrong()),
        };
        let partition = partition.parse().map_err(|_| wrong())?;
        offsets.insert(TopicPartition::new(topic, partition), offset.parse().map_err(|_| wrong())?);
    }
    Ok(offsets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_with_and_without_partitions() {
        assert_eq!(topic_spec("t"), Ok(("t", None)));
        assert_eq!(topic_spec("t:0, 2"), Ok(("t", Some(vec![0, 2]))));
        assert!(topic_spec("t:").is_err() && topic_spec(":1").is_err() && topic_spec("t:-1").is_err());
    }

    #[test]
    fn durations() {
        assert_eq!(duration("P7D"), Ok(Duration::from_secs(604_800)));
        assert_eq!(duration("P1DT2H3M4.5S"), Ok(Duration::from_millis(93_784_500)));
        assert_eq!(duration("PT0S"), Ok(Duration::ZERO));
        for bad in ["", "P", "PT", "7D", "P7", "P1H", "PT1D", "PT1S2H", "PT.S"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn csv_both_ways() {
        let offsets = BTreeMap::from([(TopicPartition::new("a", 0), 5), (TopicPartition::new("b", 2), 7)]);
        assert_eq!(from_csv(&to_csv(&offsets), "g"), Ok(offsets.clone()));
        let of_groups = "g,a,0,5\n# a note\nother,a,1,9\n\"g\",\"b\",2,7\n";
        assert_eq!(from_csv(of_groups, "g"), Ok(offsets));
        assert!(from_csv("a,0,5\na;1;6\n", "g").expect_err("no commas").starts_with("line 2"));
    }

    #[test]
    fn offsets_stay_within_what_there_is() {
        assert_eq!((bounded(-5, 2, 9), bounded(5, 2, 9), bounded(50, 2, 9)), (2, 5, 9));
    }
}
