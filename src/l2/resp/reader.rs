//! Reads replies of both versions of the protocol out of a buffer, as the bytes come: what is inside a list and complete is
//! taken out at once, so that no byte of a large answer is read twice. Pure.

use bytes::{Buf, BytesMut};
use redis::{ErrorKind, PushKind, RedisError, RedisResult, ServerError, Value, VerbatimFormat};

/// Lists within lists.
const DEEPEST: usize = 100;
/// Room that is made for a list before its elements are there: what it says of its length need not be true.
const ROOM: usize = 1_024;
/// Bytes that there is room for in any case.
pub(super) const LEAST_ROOM: usize = 64 << 10;
/// A line that is longer is none: lengths, numbers, states and errors are short.
const LONGEST_LINE: usize = 64 << 10;
/// The longest string that Redis can be made to hold.
const LONGEST: i64 = 4 << 30;

/// Reads one connection's replies.
#[derive(Default)]
pub struct Reader {
    /// The lists that are open, from the outermost in.
    open: Vec<List>,
}

struct List {
    kind: ListKind,
    length: usize,
    values: Vec<Value>,
}

#[derive(Clone, Copy)]
enum ListKind {
    Array,
    Set,
    Map,
    Attribute,
    Push,
}

/// What stands at the begin of the buffer.
enum Item {
    Value(Value),
    List(ListKind, usize),
}

impl Reader {
    /// The next reply, taken out of `input`; `None` if it is not complete yet.
    ///
    /// # Errors
    /// If this is not the protocol.
    pub fn next(&mut self, input: &mut BytesMut) -> RedisResult<Option<Value>> {
        loop {
            let value = match item(input)? {
                None => return Ok(None),
                Some(Item::Value(value)) => value,
                Some(Item::List(kind, length)) => {
                    if self.open.len() == DEEPEST {
                        return Err(foreign("lists within lists without end"));
                    }
                    let list = List {
                        kind,
                        length,
                        values: Vec::with_capacity(length.min(ROOM)),
                    };
                    if length > 0 {
                        self.open.push(list);
                        continue;
                    }
                    list.close()?
                }
            };
            if let Some(value) = self.put(value)? {
                return Ok(Some(value));
            }
        }
    }

    /// Puts a value where it belongs; gives the outermost one once it is complete.
    fn put(&mut self, mut value: Value) -> RedisResult<Option<Value>> {
        while let Some(mut list) = self.open.pop() {
            list.values.push(value);
            if list.values.len() < list.length {
                self.open.push(list);
                return Ok(None);
            }
            value = list.close()?;
        }
        Ok(Some(value))
    }
}

impl List {
    fn close(self) -> RedisResult<Value> {
        let mut values = self.values;
        Ok(match self.kind {
            ListKind::Array => Value::Array(values),
            ListKind::Set => Value::Set(values),
            ListKind::Map => Value::Map(pairs(values)),
            ListKind::Attribute => {
                let data = values
                    .pop()
                    .ok_or_else(|| foreign("attributes of nothing"))?;
                Value::Attribute {
                    data: Box::new(data),
                    attributes: pairs(values),
                }
            }
            ListKind::Push => {
                let mut values = values.into_iter();
                let kind = match values.next() {
                    Some(Value::BulkString(kind)) => String::from_utf8(kind).ok(),
                    Some(Value::SimpleString(kind)) => Some(kind),
                    _ => None,
                };
                Value::Push {
                    kind: push_kind(kind.unwrap_or_default()),
                    data: values.collect(),
                }
            }
        })
    }
}

fn pairs(values: Vec<Value>) -> Vec<(Value, Value)> {
    let mut pairs = Vec::with_capacity(values.len() / 2);
    let mut values = values.into_iter();
    while let (Some(key), Some(value)) = (values.next(), values.next()) {
        pairs.push((key, value));
    }
    pairs
}

fn push_kind(kind: String) -> PushKind {
    match kind.as_str() {
        "invalidate" => PushKind::Invalidate,
        "message" => PushKind::Message,
        "subscribe" => PushKind::Subscribe,
        _ => PushKind::Other(kind),
    }
}

/// Takes what stands at the begin of the buffer, if it is complete.
fn item(input: &mut BytesMut) -> RedisResult<Option<Item>> {
    let Some(&sign) = input.first() else {
        return Ok(None);
    };
    // Told early: who is no Redis may never end its line.
    if !b"+-:$*_,#!=(%~|>".contains(&sign) {
        let text = format!("it begins with {:?}", char::from(sign));
        return Err(foreign(&text));
    }
    let Some(end) = line_end(input)? else {
        return Ok(None);
    };
    let line = &input[1..end];
    let after = end + 2;
    let value = match sign {
        b'$' | b'=' | b'!' => {
            let length = number(line)?;
            if length < 0 {
                input.advance(after);
                return Ok(Some(Item::Value(Value::Nil)));
            }
            if length > LONGEST {
                return Err(foreign("a string longer than any"));
            }
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            let whole = after + length + 2;
            if input.len() < whole {
                // In doubling steps: what the other side says of a length need not be true.
                input.reserve((whole - input.len()).min(input.len().max(LEAST_ROOM)));
                return Ok(None);
            }
            if &input[whole - 2..whole] != b"\r\n" {
                return Err(foreign("a string that does not end where it says"));
            }
            let value = string(sign, &input[after..whole - 2]);
            input.advance(whole);
            return Ok(Some(Item::Value(value)));
        }
        b'*' | b'~' | b'%' | b'|' | b'>' => {
            let length = number(line)?;
            input.advance(after);
            let Ok(length) = usize::try_from(length) else {
                return Ok(Some(Item::Value(Value::Nil)));
            };
            let (kind, length) = match sign {
                b'*' => (ListKind::Array, length),
                b'~' => (ListKind::Set, length),
                b'>' => (ListKind::Push, length),
                b'%' => (ListKind::Map, length.saturating_mul(2)),
                _ => (
                    ListKind::Attribute,
                    length.saturating_mul(2).saturating_add(1),
                ),
            };
            return Ok(Some(Item::List(kind, length)));
        }
        b'+' if line == b"OK" => Value::Okay,
        b'+' => Value::SimpleString(String::from_utf8_lossy(line).into_owned()),
        b'-' => Value::ServerError(server_error(&String::from_utf8_lossy(line))),
        b':' => Value::Int(number(line)?),
        b'_' => Value::Nil,
        b',' => {
            let text = std::str::from_utf8(line).unwrap_or_default();
            Value::Double(text.parse().map_err(|_| foreign("no such number"))?)
        }
        b'#' => match line {
            b"t" => Value::Boolean(true),
            b"f" => Value::Boolean(false),
            _ => return Err(foreign("neither true nor false")),
        },
        _ => Value::BigNumber(line.to_vec()),
    };
    input.advance(after);
    Ok(Some(Item::Value(value)))
}

fn string(sign: u8, bytes: &[u8]) -> Value {
    match sign {
        b'$' => Value::BulkString(bytes.to_vec()),
        b'!' => Value::ServerError(server_error(&String::from_utf8_lossy(bytes))),
        _ => {
            let text = String::from_utf8_lossy(bytes);
            let (format, text) = text.split_once(':').unwrap_or(("", &text));
            Value::VerbatimString {
                format: match format {
                    "txt" => VerbatimFormat::Text,
                    "mkd" => VerbatimFormat::Markdown,
                    other => VerbatimFormat::Unknown(other.to_owned()),
                },
                text: text.to_owned(),
            }
        }
    }
}

/// Where the first line ends; `None` if it does not yet.
fn line_end(input: &[u8]) -> RedisResult<Option<usize>> {
    let searched = &input[..input.len().min(LONGEST_LINE)];
    let end = searched.windows(2).position(|pair| pair == b"\r\n");
    if end.is_none() && input.len() > LONGEST_LINE {
        return Err(foreign("a line without end"));
    }
    Ok(end)
}

fn number(line: &[u8]) -> RedisResult<i64> {
    let negative = line.first() == Some(&b'-');
    let digits = line.strip_prefix(b"-").or(line.strip_prefix(b"+"));
    let digits = digits.unwrap_or(line);
    let add = |sum: i64, digit: &u8| {
        let digit = char::from(*digit).to_digit(10)?;
        // Downwards, where there is one number more.
        sum.checked_mul(10)?.checked_sub(i64::from(digit))
    };
    let sum = digits.iter().try_fold(0, add);
    let sum = sum.filter(|_| !digits.is_empty());
    let sum = if negative {
        sum
    } else {
        sum.and_then(i64::checked_neg)
    };
    sum.ok_or_else(|| foreign("no such number"))
}

fn server_error(line: &str) -> ServerError {
    let (code, detail) = match line.split_once(' ') {
        Some((code, detail)) => (code, Some(detail.to_owned())),
        None => (line, None),
    };
    let error = redis::make_extension_error(code.to_owned(), detail);
    match ServerError::try_from(error) {
        Ok(error) => error,
        Err(_) => unreachable!("an extension error is a server's"),
    }
}

fn foreign(what: &str) -> RedisError {
    (ErrorKind::Parse, "not an answer", what.to_owned()).into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::l2::link::server_text;

    /// All replies in `bytes`, which come in pieces of these sizes in turn.
    fn read(bytes: &[u8], pieces: &[usize]) -> RedisResult<Vec<Value>> {
        let (mut reader, mut input, mut values) = (Reader::default(), BytesMut::new(), Vec::new());
        let (mut rest, mut pieces) = (bytes, pieces.iter().cycle());
        while !rest.is_empty() {
            let piece = pieces.next().map_or(rest.len(), |piece| *piece);
            let (now, later) = rest.split_at(piece.clamp(1, rest.len()));
            input.extend_from_slice(now);
            rest = later;
            while let Some(value) = reader.next(&mut input)? {
                values.push(value);
            }
        }
        Ok(values)
    }

    fn one(text: &str) -> Value {
        let mut values = read(text.as_bytes(), &[]).expect("the protocol");
        assert_eq!(values.len(), 1, "{text:?}");
        values.pop().expect("one")
    }

    fn scalar() -> impl Strategy<Value = String> {
        prop_oneof![
            "[a-zA-Z ]{0,9}".prop_map(|text| format!("+{text}\r\n")),
            any::<i64>().prop_map(|number| format!(":{number}\r\n")),
            "[a-z\\r\\n$*:]{0,40}".prop_map(|text| format!("${}\r\n{text}\r\n", text.len())),
            "[a-z]{0,9}".prop_map(|text| format!("={}\r\ntxt:{text}\r\n", text.len() + 4)),
            Just("$-1\r\n".to_owned()),
            Just("*-1\r\n".to_owned()),
            Just("_\r\n".to_owned()),
            Just("#t\r\n".to_owned()),
            Just("#f\r\n".to_owned()),
            Just(",1.5e3\r\n".to_owned()),
            Just(",-inf\r\n".to_owned()),
            Just("(123456789012345678901234567890\r\n".to_owned()),
        ]
    }

    fn reply() -> impl Strategy<Value = String> {
        scalar().prop_recursive(4, 32, 5, |inner| {
            let lists = (
                prop::sample::select(vec!['*', '~']),
                prop::collection::vec(inner.clone(), 0..5),
            )
                .prop_map(|(sign, values)| {
                    format!("{sign}{}\r\n{}", values.len(), values.concat())
                });
            let maps = (
                prop::sample::select(vec!['%', '|']),
                prop::collection::vec((inner.clone(), inner.clone()), 0..3),
                inner,
            )
                .prop_map(|(sign, pairs, data)| {
                    let pairs: Vec<String> = pairs
                        .into_iter()
                        .map(<[String; 2]>::from)
                        .map(|pair| pair.concat())
                        .collect();
                    let (count, inside) = (pairs.len(), pairs.concat());
                    let data = if sign == '|' { data } else { String::new() };
                    format!("{sign}{count}\r\n{inside}{data}")
                });
            prop_oneof![lists, maps]
        })
    }

    proptest! {
        #[test]
        fn replies_are_read_as_the_library_reads_them_however_they_are_cut(
            texts in prop::collection::vec(reply(), 1..5),
            pieces in prop::collection::vec(1..9_usize, 1..5),
        ) {
            let expected: Vec<Value> = texts
                .iter()
                .map(|text| redis::parse_redis_value(text.as_bytes()).expect("sound"))
                .collect();
            let bytes = texts.concat();
            prop_assert_eq!(read(bytes.as_bytes(), &[]).expect("sound"), expected.clone());
            prop_assert_eq!(read(bytes.as_bytes(), &pieces).expect("sound"), expected);
        }

        #[test]
        fn any_bytes_are_read_alike_whole_and_in_pieces(bytes: Vec<u8>, pieces in prop::collection::vec(1..9_usize, 1..5)) {
            let (whole, cut) = (read(&bytes, &[]), read(&bytes, &pieces));
            prop_assert_eq!(whole.ok(), cut.ok());
        }
    }

    #[test]
    fn an_error_is_its_first_word_and_the_rest() {
        for text in ["-ERR no such key\r\n", "!15\r\nERR no such key\r\n"] {
            let Value::ServerError(error) = one(text) else {
                panic!("{text:?} is an error");
            };
            assert_eq!(
                (error.code(), error.details()),
                ("ERR", Some("no such key"))
            );
            assert_eq!(server_text(&error), "ERR no such key");
        }
    }

    #[test]
    fn a_push_says_what_it_is_about() {
        let Value::Push { kind, data } = one(">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n") else {
            panic!("a push");
        };
        assert_eq!(kind, PushKind::Invalidate);
        assert_eq!(data, [Value::Array(vec![Value::BulkString(b"k".to_vec())])]);
        assert!(matches!(
            one(">0\r\n"),
            Value::Push {
                kind: PushKind::Other(_),
                ..
            }
        ));
    }

    #[test]
    fn what_is_no_reply_is_told_at_once() {
        let deep = "*1\r\n".repeat(DEEPEST + 1);
        let long = format!("+{}", "x".repeat(LONGEST_LINE));
        let foreign = [
            "HTTP/1.1 400 Bad Request\r\n",
            "SSH",
            ":12a\r\n",
            ":\r\n",
            ":9223372036854775808\r\n",
            "$5\r\nabcdefg\r\n",
            "$99999999999\r\n",
            "#x\r\n",
            ",x\r\n",
            &deep,
            &long,
        ];
        for text in foreign {
            assert!(read(text.as_bytes(), &[]).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_length_that_is_only_said_takes_no_room() {
        let (mut reader, mut input) = (Reader::default(), BytesMut::new());
        input.extend_from_slice(b"*2000000000\r\n$4000000000\r\nabc");
        assert_eq!(reader.next(&mut input).expect("not complete"), None);
        assert!(input.capacity() <= 2 * LEAST_ROOM, "{}", input.capacity());
    }

    #[test]
    fn the_ends_of_the_numbers_are_numbers() {
        assert_eq!(one(":-9223372036854775808\r\n"), Value::Int(i64::MIN));
        assert_eq!(one(":9223372036854775807\r\n"), Value::Int(i64::MAX));
        assert_eq!(one(":+5\r\n"), Value::Int(5));
    }
}
