//! Slots: which of a cluster's 16,384 a key is in, and who serves them, by the answer to CLUSTER SLOTS. Pure.

use std::sync::LazyLock;

use redis::Value;

use crate::{config::Endpoint, l2::commands};

/// How many there are.
pub const SLOTS: u16 = 16_384;

/// The slot of a key: CRC16 (XMODEM) of what stands between the first `{` and the next `}`, if anything does, else of all.
#[must_use]
pub fn slot_of(key: &[u8]) -> u16 {
    crc16(tag_in(key).unwrap_or(key)) % SLOTS
}

fn tag_in(key: &[u8]) -> Option<&[u8]> {
    let from = key.iter().position(|&byte| byte == b'{')? + 1;
    let length = key[from..].iter().position(|&byte| byte == b'}')?;
    (length > 0).then(|| &key[from..from + length])
}

const TABLE: [u16; 256] = table();

const fn table() -> [u16; 256] {
    let mut table = [0; 256];
    let mut byte = 0_u16;
    while byte < 256 {
        let mut crc = byte << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 {
                crc << 1
            } else {
                (crc << 1) ^ 0x1021
            };
            bit += 1;
        }
        table[byte as usize] = crc;
        byte += 1;
    }
    table
}

fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (crc << 8) ^ TABLE[usize::from((crc >> 8) as u8 ^ byte)]
    })
}

/// Cuts `items` into those whose keys are in one slot each, in the order of the first of each.
pub fn group_by_slot<T>(items: Vec<T>, key: impl Fn(&T) -> &[u8]) -> Vec<Vec<T>> {
    let mut groups: Vec<Vec<T>> = Vec::new();
    let mut at: ahash::HashMap<u16, usize> = ahash::HashMap::default();
    for item in items {
        let group = *at.entry(slot_of(key(&item))).or_insert_with(|| {
            groups.push(Vec::new());
            groups.len() - 1
        });
        groups[group].push(item);
    }
    groups
}

/// For each slot a number whose digits are in it.
static TAGS: LazyLock<Box<[u32]>> = LazyLock::new(|| {
    let mut tags = vec![None; usize::from(SLOTS)];
    let mut left = SLOTS;
    let mut number = 0_u32;
    while left > 0 {
        let slot = slot_of(number.to_string().as_bytes());
        let tag = &mut tags[usize::from(slot)];
        if tag.is_none() {
            *tag = Some(number);
            left -= 1;
        }
        number += 1;
    }
    tags.into_iter().map(Option::unwrap_or_default).collect()
});

/// Finds the tags, which takes some milliseconds once in a process.
pub(super) fn prepare() {
    LazyLock::force(&TAGS);
}

/// A text that puts a key into `slot` when it stands in braces.
#[must_use]
pub fn tag_of(slot: u16) -> String {
    TAGS[usize::from(slot)].to_string()
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What it calls itself in the cluster, `""` if that is not known.
    pub id: String,
    /// Where it is.
    pub endpoint: Endpoint,
    /// The same by its address, where `endpoint` has a name.
    pub alias: Option<Endpoint>,
}

/// Slots in a row, and who serves them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// The first of them.
    pub first: u16,
    /// The last of them.
    pub last: u16,
    /// The master.
    pub master: Node,
}

/// Who serves what.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layout {
    /// The slots that are served.
    pub ranges: Vec<Range>,
    /// Every node that was named, replicas too.
    pub nodes: Vec<Endpoint>,
}

impl Layout {
    /// Reads the answer to CLUSTER SLOTS. `asked` is the host that answered, which a node that does not know its own
    /// address means; host names are preferred where certificates are verified, `by_name`.
    #[must_use]
    pub fn read(reply: Value, asked: &str, by_name: bool) -> Option<Self> {
        let Value::Array(rows) = reply else {
            return None;
        };
        let mut layout = Self::default();
        for row in rows {
            let Value::Array(row) = row else { return None };
            let mut row = row.into_iter();
            let (first, last) = (slot(&row.next()?)?, slot(&row.next()?)?);
            let mut nodes = row.map(|node| read_node(node, asked, by_name));
            let master = nodes.next()??;
            layout.nodes.push(master.endpoint.clone());
            layout
                .nodes
                .extend(nodes.flatten().map(|node| node.endpoint));
            layout.ranges.push(Range {
                first,
                last,
                master,
            });
        }
        layout.nodes.sort_by_key(ToString::to_string);
        layout.nodes.dedup();
        Some(layout)
    }
}

fn slot(value: &Value) -> Option<u16> {
    let number = commands::integer(value).and_then(|number| u16::try_from(number).ok());
    number.filter(|&slot| slot < SLOTS)
}

fn read_node(value: Value, asked: &str, by_name: bool) -> Option<Node> {
    let Value::Array(parts) = value else {
        return None;
    };
    let mut parts = parts.into_iter();
    let host = text(parts.next()?);
    let port = commands::integer(&parts.next()?).and_then(|port| u16::try_from(port).ok())?;
    let id = parts.next().and_then(text).unwrap_or_default();
    let named = by_name.then(|| parts.next().and_then(host_name)).flatten();
    let at = |host: String| Endpoint::Tcp { host, port };
    let host = host.filter(|host| !host.is_empty() && host != "?");
    let address = at(host.unwrap_or_else(|| asked.to_owned()));
    Some(match named {
        Some(name) => Node {
            id,
            endpoint: at(name),
            alias: Some(address),
        },
        None => Node {
            id,
            endpoint: address,
            alias: None,
        },
    })
}

/// The `hostname` among a node's further names, an array of pairs or a map.
fn host_name(value: Value) -> Option<String> {
    let pairs: Vec<(Value, Value)> = if let Value::Map(pairs) = value {
        pairs
    } else if let Value::Array(list) = value {
        let mut list = list.into_iter();
        std::iter::from_fn(|| Some((list.next()?, list.next()?))).collect()
    } else {
        return None;
    };
    let mut named = pairs
        .into_iter()
        .filter(|(name, _)| text(name.clone()).as_deref() == Some("hostname"));
    let name = named.next().and_then(|(_, name)| text(name));
    name.filter(|name| !name.is_empty() && name != "?")
}

fn text(value: Value) -> Option<String> {
    String::from_utf8(commands::bytes(value)?).ok()
}

/// The slot and the place that MOVED and ASK name. A node that does not know an address leaves the host out: it is that
/// of the one who `asked`.
#[must_use]
pub fn redirection(details: &str, asked: &str) -> Option<(u16, Endpoint)> {
    let (slot, place) = details.split_once(' ')?;
    let (host, port) = place.trim().rsplit_once(':')?;
    let slot = slot.parse().ok().filter(|&slot| slot < SLOTS)?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let host = if host.is_empty() || host == "?" {
        asked
    } else {
        host
    };
    let endpoint = Endpoint::Tcp {
        host: host.to_owned(),
        port: port.parse().ok()?,
    };
    Some((slot, endpoint))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(host: &str, port: u16) -> Endpoint {
        Endpoint::Tcp {
            host: host.to_owned(),
            port,
        }
    }

    #[test]
    fn keys_are_in_the_slots_that_redis_says() {
        // From the specification of Redis Cluster, and CLUSTER KEYSLOT.
        assert_eq!(crc16(b"123456789"), 0x31C3);
        let table: [(&str, u16); 8] = [
            ("", 0),
            ("foo", 12_182),
            ("{user1000}.following", 3_443),
            ("{user1000}.followers", 3_443),
            ("user1000", 3_443),
            ("foo{}{bar}", 8_363),
            ("foo{{bar}}zap", 4_015),
            ("foo{bar}{zap}", 5_061),
        ];
        for (key, slot) in table {
            assert_eq!(slot_of(key.as_bytes()), slot, "{key}");
        }
    }

    #[test]
    fn every_slot_has_a_tag() {
        for slot in [0, 1, 8_191, 16_383] {
            let key = format!("n:~canary:{{{}}}", tag_of(slot));
            assert_eq!(slot_of(key.as_bytes()), slot);
        }
    }

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    #[test]
    fn the_layout_is_read() {
        let node = |host: &str, port, id: &str, more: Vec<Value>| {
            Value::Array(vec![
                bulk(host),
                Value::Int(port),
                bulk(id),
                Value::Array(more),
            ])
        };
        let reply = || {
            Value::Array(vec![
                Value::Array(vec![
                    Value::Int(0),
                    Value::Int(8_191),
                    node(
                        "10.0.0.1",
                        1,
                        "a",
                        vec![bulk("hostname"), bulk("a.example")],
                    ),
                    node("10.0.0.2", 2, "b", vec![]),
                ]),
                Value::Array(vec![
                    Value::Int(8_192),
                    Value::Int(16_383),
                    node("", 3, "c", vec![]),
                ]),
            ])
        };
        let layout = Layout::read(reply(), "asked", false).expect("a layout");
        assert_eq!(
            layout.nodes,
            [at("10.0.0.1", 1), at("10.0.0.2", 2), at("asked", 3)]
        );
        let masters: Vec<_> = layout.ranges.iter().map(|range| &range.master).collect();
        assert_eq!((masters[0].id.as_str(), masters[1].id.as_str()), ("a", "c"));
        assert_eq!(
            (layout.ranges[1].first, layout.ranges[1].last),
            (8_192, 16_383)
        );
        let layout = Layout::read(reply(), "asked", true).expect("a layout");
        let master = &layout.ranges[0].master;
        assert_eq!(master.endpoint, at("a.example", 1));
        assert_eq!(master.alias, Some(at("10.0.0.1", 1)));
        assert_eq!(Layout::read(Value::Nil, "asked", true), None);
    }

    #[test]
    fn a_redirection_names_slot_and_place() {
        assert_eq!(
            redirection("3999 127.0.0.1:6381", "asked"),
            Some((3_999, at("127.0.0.1", 6381)))
        );
        assert_eq!(
            redirection("1 ::1:6381", "asked"),
            Some((1, at("::1", 6381)))
        );
        assert_eq!(
            redirection("1 :6381", "asked"),
            Some((1, at("asked", 6381)))
        );
        assert_eq!(redirection("99999 h:1", "asked"), None);
        assert_eq!(redirection("nonsense", "asked"), None);
    }
}
