//! Whether two texts are the same JSON value.

use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// Whether both texts are JSON of the same value: a database that keeps JSON in a form of its own (`jsonb`) may give
/// it back with other spaces, another order of keys, or another way to write a number. Without rounding.
pub(crate) fn same_json(a: &str, b: &str) -> bool {
    if a == b {
        return true;
    }
    let parsed = |text| serde_json::from_str::<&RawValue>(text);
    match (parsed(a), parsed(b)) {
        (Ok(a), Ok(b)) => same_value(a, b, DEPTH),
        _ => false,
    }
}

/// Deeper values are compared as texts.
const DEPTH: usize = 100;

fn same_value(a: &RawValue, b: &RawValue, depth: usize) -> bool {
    let (a, b) = (a.get(), b.get());
    if a == b || depth == 0 {
        return a == b;
    }
    match (a.as_bytes().first(), b.as_bytes().first()) {
        (Some(b'{'), Some(b'{')) => {
            let members = |text| serde_json::from_str::<BTreeMap<String, &RawValue>>(text);
            let (Ok(a), Ok(b)) = (members(a), members(b)) else { return false };
            a.len() == b.len()
                && a.iter().zip(&b).all(|(x, y)| x.0 == y.0 && same_value(x.1, y.1, depth - 1))
        }
        (Some(b'['), Some(b'[')) => {
            let items = |text| serde_json::from_str::<Vec<&RawValue>>(text);
            let (Ok(a), Ok(b)) = (items(a), items(b)) else { return false };
            a.len() == b.len() && a.iter().zip(&b).all(|(x, y)| same_value(x, y, depth - 1))
        }
        (Some(b'"'), Some(b'"')) => {
            let text = |text| serde_json::from_str::<String>(text).ok();
            text(a).is_some_and(|a| Some(a) == text(b))
        }
        (Some(b'-' | b'0'..=b'9'), Some(b'-' | b'0'..=b'9')) => decimal(a) == decimal(b),
        _ => false,
    }
}

/// A number as sign, digits without zeros at the ends, and the power of ten of the last digit.
fn decimal(text: &str) -> Option<(bool, String, i64)> {
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let digits = digits.trim_start_matches('0');
    let kept = digits.trim_end_matches('0');
    if kept.is_empty() {
        return Some((false, String::new(), 0));
    }
    let exponent: i64 = exponent.parse().ok()?;
    let dropped = digits.len() as i64 - kept.len() as i64;
    Some((negative, kept.to_owned(), exponent - fraction.len() as i64 + dropped))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_value_may_be_written_in_other_ways() {
        for (a, b) in [
            (r#"{"a": 1, "b": [true, null]}"#, r#"{"b":[true,null],"a":1}"#),
            (r#"{"a":1,"a":2}"#, r#"{"a":2}"#),
            (r#""\u00e9\/""#, r#""é/""#),
            ("1.50", "15e-1"),
            ("-0", "0.0e7"),
            ("12000", "1.2E+4"),
            ("12345678901234567890123456789.0", "12345678901234567890123456789"),
        ] {
            assert!(same_json(a, b), "{a} {b}");
        }
    }

    #[test]
    fn other_values_differ_in_the_last_digit_too() {
        for (a, b) in [
            ("12345678901234567890123456789", "12345678901234567890123456788"),
            ("0.1", "0.10000000000000000001"),
            ("1", "-1"),
            ("1", "\"1\""),
            ("10", "1"),
            ("[1,2]", "[2,1]"),
            ("[1]", "[1,1]"),
            (r#"{"a":1}"#, r#"{"b":1}"#),
            ("null", "0"),
            ("1", "no json"),
        ] {
            assert!(!same_json(a, b), "{a} {b}");
        }
    }
}
