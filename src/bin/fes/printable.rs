//! Texts of unknown origin, as a terminal may be given them.

/// Text of unknown origin in one line, without what a terminal would act on, and with what it would
/// not show made visible.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\r' | '\t' => out.push(' '),
            c if c.is_control() || is_invisible(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

/// As [`printable`], but of a text of several lines.
pub fn printable_lines(text: &str) -> String {
    text.split('\n').map(printable).collect::<Vec<_>>().join("\n")
}

/// Characters that change the direction of the text around them, or have no width: with them a text
/// reads as another one. The joiners that scripts and emoji need are among them: shown, not lost.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_act_on_is_escaped() {
        assert_eq!(printable("a\nb\u{1b}[2J\u{9b}é"), "a b\\u{1b}[2J\\u{9b}é");
    }

    #[test]
    fn what_turns_text_around_or_cannot_be_seen_is_escaped() {
        for c in
            ["\u{202a}", "\u{202e}", "\u{2066}", "\u{2069}", "\u{200b}", "\u{200f}", "\u{feff}"]
        {
            let shown = printable(&format!("a{c}b"));
            assert!(shown.starts_with("a\\u{") && shown.ends_with("}b"), "{shown}");
        }
        assert_eq!(printable("שלום grüß 日本 🙂"), "שלום grüß 日本 🙂");
        assert_eq!(printable_lines("a\u{1b}\nb\u{202e}"), "a\\u{1b}\nb\\u{202e}");
    }
}
