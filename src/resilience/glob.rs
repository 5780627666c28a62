//! Redis' glob, byte for byte: `*`, `?`, `[a-z]`, `[^a]` and `\x`.
//!
//! Owns the question whether a key matches. Patterns that a person would call
//! broken (a class that never closes, a backslash at the end) mean here what they
//! mean in Redis' `stringmatchlen`, because the same pattern is also sent to it.
//! Unlike that function this one does not recurse: only the last `*` is ever
//! tried again, so a hostile pattern costs length times length at most.

/// `text` as a pattern that matches nothing but itself.
#[must_use]
pub fn escape(text: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(text.len() + 4);
    for byte in text {
        if matches!(byte, b'*' | b'?' | b'[' | b']' | b'\\') {
            escaped.push(b'\\');
        }
        escaped.push(*byte);
    }
    escaped
}

/// Whether `text` as a whole matches `pattern`.
#[must_use]
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut read) = (0, 0);
    let mut retry = None;
    while read < text.len() {
        if pattern.get(at) == Some(&b'*') {
            at += 1;
            retry = Some((at, read));
        } else if let Some(next) = one(pattern, at, text[read]) {
            at = next;
            read += 1;
        } else if let Some((star, start)) = retry {
            // The last `*` takes one byte more.
            at = star;
            read = start + 1;
            retry = Some((star, read));
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(|&byte| byte == b'*')
}

/// Where the pattern goes on if its element at `at`, no `*`, takes `byte`.
fn one(pattern: &[u8], at: usize, byte: u8) -> Option<usize> {
    match (*pattern.get(at)?, pattern.get(at + 1)) {
        (b'?', _) => Some(at + 1),
        (b'[', _) => class(pattern, at + 1, byte),
        (b'\\', Some(&escaped)) => (escaped == byte).then_some(at + 2),
        (literal, _) => (literal == byte).then_some(at + 1),
    }
}

/// Where the pattern goes on if the class whose inside begins at `at` takes
/// `byte`. A class without its `]` ends where the pattern does.
fn class(pattern: &[u8], mut at: usize, byte: u8) -> Option<usize> {
    let negated = pattern.get(at) == Some(&b'^');
    at += usize::from(negated);
    let mut found = false;
    loop {
        match pattern.get(at..).unwrap_or_default() {
            [] | [b']', ..] => break,
            [b'\\', escaped, ..] => {
                found |= *escaped == byte;
                at += 2;
            }
            [low, b'-', high, ..] => {
                found |= (*low.min(high)..=*low.max(high)).contains(&byte);
                at += 3;
            }
            [literal, ..] => {
                found |= *literal == byte;
                at += 1;
            }
        }
    }
    (found != negated).then_some((at + 1).min(pattern.len()))
}

#[cfg(test)]
mod tests {
    use super::matches;
    use proptest::prelude::*;

    fn yes(pattern: &str, text: &str) {
        assert!(
            matches(pattern.as_bytes(), text.as_bytes()),
            "{pattern} should match {text}"
        );
    }

    fn no(pattern: &str, text: &str) {
        assert!(
            !matches(pattern.as_bytes(), text.as_bytes()),
            "{pattern} should not match {text}"
        );
    }

    #[test]
    fn the_examples_of_the_keys_command_hold() {
        yes("h?llo", "hello");
        no("h?llo", "hllo");
        yes("h*llo", "hllo");
        yes("h*llo", "heeeello");
        yes("h[ae]llo", "hallo");
        no("h[ae]llo", "hillo");
        yes("h[^e]llo", "hallo");
        no("h[^e]llo", "hello");
        yes("h[a-b]llo", "hbllo");
        no("h[a-b]llo", "hcllo");
    }

    #[test]
    fn stars_take_anything_and_nothing() {
        yes("*", "a");
        yes("a*", "a");
        yes("a**b", "ab");
        yes("*a*b*", "xxaxxbxx");
        no("*a*b", "abc");
        yes("user:*:name", "user:1:2:name");
    }

    #[test]
    fn escapes_are_literal() {
        yes(r"a\*b", "a*b");
        no(r"a\*b", "axb");
        yes(r"[\]]", "]");
        yes(r"a\", r"a\");
    }

    #[test]
    fn broken_classes_mean_what_redis_takes_them_for() {
        yes("[abc", "b");
        no("[abc", "d");
        yes("[z-a]", "m");
        no("[]", "a");
        no("[", "[");
        yes("[^", "x");
        no("[a-]", "-");
        yes("[a-]", "^");
    }

    #[test]
    fn a_hostile_pattern_is_quick() {
        let pattern = "a*".repeat(200) + "b";
        no(&pattern, &"a".repeat(20_000));
    }

    proptest! {
        #![proptest_config(crate::resilience::sequences())]

        #[test]
        fn an_escaped_text_matches_itself_only(text in "[a-c*?\\[\\]^\\\\-]{1,12}", other in "[a-c*?\\[\\]^\\\\-]{1,12}") {
            let escaped: String = text.chars().flat_map(|c| ['\\', c]).collect();
            prop_assert!(matches(escaped.as_bytes(), text.as_bytes()));
            prop_assert_eq!(matches(escaped.as_bytes(), other.as_bytes()), text == other);
        }

        #[test]
        fn no_pattern_panics(pattern in proptest::collection::vec(any::<u8>(), 0..16), text in proptest::collection::vec(any::<u8>(), 0..16)) {
            let _ = matches(&pattern, &text);
        }

        #[test]
        fn stars_around_find_a_part(before in "[a-c]{0,6}", part in "[a-c]{1,4}", after in "[a-c]{0,6}") {
            let text = format!("{before}{part}{after}");
            let pattern = format!("*{part}*");
            prop_assert!(matches(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
