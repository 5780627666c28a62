//! In which order the addresses of a host are tried.

use std::{
    collections::VecDeque,
    io,
    net::{IpAddr, SocketAddr},
};

use crate::config::Family;

/// Asks the system's resolver, anew at every connect, since names move while links live. May be cancelled; a resolver
/// that hangs keeps a thread of the runtime's blocking pool until it gives up.
pub(super) async fn look_up(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    Ok(tokio::net::lookup_host((host, port)).await?.collect())
}

/// The addresses of one family each in turn, as the resolver ranks them (RFC 8305, section 4), without duplicates, and
/// the one that was good last before all others.
pub(super) fn order(
    found: Vec<SocketAddr>,
    family: Family,
    last_good: Option<IpAddr>,
) -> Vec<SocketAddr> {
    let first_is_v6 = found.first().is_some_and(SocketAddr::is_ipv6);
    let wanted = |address: &SocketAddr| match family {
        Family::Any => true,
        Family::V4 => address.is_ipv4(),
        Family::V6 => address.is_ipv6(),
    };
    let (mut turn, mut other): (VecDeque<_>, VecDeque<_>) = found
        .into_iter()
        .filter(wanted)
        .partition(|address| address.is_ipv6() == first_is_v6);
    let mut ordered = Vec::with_capacity(turn.len() + other.len());
    while let Some(address) = turn.pop_front().or_else(|| other.pop_front()) {
        if !ordered.contains(&address) {
            ordered.push(address);
        }
        std::mem::swap(&mut turn, &mut other);
    }
    ordered.sort_by_key(|address| Some(address.ip()) != last_good);
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ordered(found: &[&str], family: Family, last_good: Option<&str>) -> Vec<String> {
        let found = found
            .iter()
            .map(|ip| SocketAddr::new(ip.parse().unwrap(), 1))
            .collect();
        let last_good = last_good.map(|ip| ip.parse().unwrap());
        let ordered = order(found, family, last_good);
        ordered
            .iter()
            .map(|address| address.ip().to_string())
            .collect()
    }

    #[test]
    fn families_take_turns_and_the_resolvers_first_begins() {
        let v4_first = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "::1", "::2"];
        assert_eq!(
            ordered(&v4_first, Family::Any, None),
            ["10.0.0.1", "::1", "10.0.0.2", "::2", "10.0.0.3"]
        );
        let v6_first = ["::1", "::2", "::3", "10.0.0.1"];
        assert_eq!(
            ordered(&v6_first, Family::Any, None),
            ["::1", "10.0.0.1", "::2", "::3"]
        );
    }

    #[test]
    fn a_family_can_be_chosen() {
        let found = ["::1", "10.0.0.1", "::2"];
        assert_eq!(ordered(&found, Family::V4, None), ["10.0.0.1"]);
        assert_eq!(ordered(&found, Family::V6, None), ["::1", "::2"]);
        assert!(ordered(&["::1"], Family::V4, None).is_empty());
    }

    #[test]
    fn the_last_good_address_comes_first_if_it_is_still_there() {
        let found = ["10.0.0.1", "::1", "10.0.0.2"];
        assert_eq!(
            ordered(&found, Family::Any, Some("10.0.0.2")),
            ["10.0.0.2", "10.0.0.1", "::1"]
        );
        assert_eq!(
            ordered(&found, Family::Any, Some("10.0.0.9")),
            ["10.0.0.1", "::1", "10.0.0.2"]
        );
    }

    #[test]
    fn an_address_is_tried_once() {
        assert_eq!(
            ordered(&["::1", "::1", "10.0.0.1", "::1"], Family::Any, None),
            ["::1", "10.0.0.1"]
        );
    }
}
