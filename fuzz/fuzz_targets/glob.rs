//! A pattern and a key, parted by a zero byte: the answer is that of Redis' own recursive function, and an escaped text
//! matches itself and nothing else.

#![no_main]

use evenkeel::resilience::glob::{escape, matches};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let at = data
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(data.len());
    let (pattern, text) = (&data[..at], data.get(at + 1..).unwrap_or_default());
    let matched = matches(pattern, text);
    // The plain recursion is exponential in the stars.
    if pattern.iter().filter(|byte| **byte == b'*').count() <= 4 && text.len() <= 64 {
        assert_eq!(matched, plainly(pattern, text));
    }
    assert!(matches(&escape(text), text));
    assert_eq!(matches(&escape(pattern), text), pattern == text);
});

/// As the documentation of KEYS has it, by trying everything.
fn plainly(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern, text) {
        ([b'*', rest @ ..], _) => (0..=text.len()).any(|skipped| plainly(rest, &text[skipped..])),
        ([], _) => text.is_empty(),
        (_, []) => false,
        ([b'?', rest @ ..], [_, others @ ..]) => plainly(rest, others),
        ([b'[', class @ ..], [byte, others @ ..]) => {
            let (taken, rest) = of_class(class, *byte);
            taken && plainly(rest, others)
        }
        ([b'\\', escaped, rest @ ..], [byte, others @ ..])
        | ([escaped, rest @ ..], [byte, others @ ..]) => escaped == byte && plainly(rest, others),
    }
}

/// Whether the inside of a class takes `byte`, and what follows the class.
fn of_class(mut class: &[u8], byte: u8) -> (bool, &[u8]) {
    let negated = class.first() == Some(&b'^');
    class = &class[usize::from(negated)..];
    let mut found = false;
    loop {
        class = match class {
            [] => return (found != negated, class),
            [b']', rest @ ..] => return (found != negated, rest),
            [b'\\', escaped, rest @ ..] => {
                found |= *escaped == byte;
                rest
            }
            [low, b'-', high, rest @ ..] => {
                found |= (low.min(high)..=low.max(high)).contains(&&byte);
                rest
            }
            [literal, rest @ ..] => {
                found |= *literal == byte;
                rest
            }
        };
    }
}
