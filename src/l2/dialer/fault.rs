//! Why there is no connection: a class, a code that Node's users know, a message and a hint that says what to do; and
//! one such answer for all addresses that were tried. What single errors mean is said in `causes`.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
};

use rustls::{Error as TlsError, client::VerifierBuilderError, pki_types::InvalidDnsNameError};

use super::causes::{PLAIN_PORT, TLS_PORT, of_system, of_tls};
use crate::{config::Endpoint, error::CacheError, resilience::backoff::Class};

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DialError {
    /// How soon to try again. A name that is not known is `Transient` here: whether it has been so for too often is for
    /// the caller to count, as is a server that hangs up again and again.
    pub class: Class,
    /// Node's own code where there is one: `ECONNREFUSED`, `ENOTFOUND`, `CERT_HAS_EXPIRED`, …
    pub code: &'static str,
    /// What happened, with the endpoint.
    pub message: String,
    /// What to do about it.
    pub hint: Option<&'static str>,
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for DialError {}

impl DialError {
    pub(in crate::l2) fn new(class: Class, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            class,
            code,
            message: message.into(),
            hint: None,
        }
    }

    pub(in crate::l2) fn hint(mut self, hint: &'static str) -> Self {
        self.hint = Some(hint);
        self
    }

    /// What an error of a socket says, at whatever time in the life of a link; `rustls` errors are looked for inside.
    #[must_use]
    pub fn of(error: &io::Error) -> Self {
        let inner = error.get_ref();
        if let Some(tls) = inner.and_then(|inner| inner.downcast_ref::<TlsError>()) {
            return of_tls(tls);
        }
        if let Some(options) = inner.and_then(|inner| inner.downcast_ref::<CacheError>()) {
            let message = options.message.clone();
            return Self::new(Class::Configuration, "ERR_TLS_INVALID_CONTEXT", message);
        }
        if inner
            .and_then(|inner| inner.downcast_ref::<VerifierBuilderError>())
            .is_some()
        {
            let message = "no certificate authority is trusted on this machine";
            return Self::new(
                Class::Configuration,
                "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
                message,
            )
            .hint("install the package ca-certificates, or give redis.tls.ca");
        }
        if inner
            .and_then(|inner| inner.downcast_ref::<InvalidDnsNameError>())
            .is_some()
        {
            let message = "the host is no name that a certificate can be for";
            return Self::new(
                Class::Configuration,
                "ERR_TLS_CERT_ALTNAME_INVALID",
                message,
            )
            .hint("set redis.tls.servername");
        }
        of_system(error)
    }

    /// The same for the first exchange over a new connection, where a hang-up has one more likely reason: a TLS port
    /// resets, or just closes, a link that speaks plain text.
    #[must_use]
    pub fn of_first_exchange(error: &io::Error, tls: bool) -> Self {
        match Self::of(error) {
            fault if fault.hung_up() && !tls => fault.hint(TLS_PORT),
            fault => fault,
        }
    }

    pub(super) fn of_tls_handshake(error: &io::Error) -> Self {
        match Self::of(error) {
            fault if fault.hung_up() => Self {
                message: "the server hung up during the TLS handshake".to_owned(),
                ..fault.hint(PLAIN_PORT)
            },
            fault => fault,
        }
    }

    /// The name service's answer. Its codes come as text only, in words of the C library.
    pub(super) fn of_lookup(host: &str, error: &io::Error) -> Self {
        let text = error.to_string().to_lowercase();
        if text.contains("temporary failure")
            || text.contains("try again")
            || error.raw_os_error() == Some(11_002)
        {
            let message = format!("the name service does not answer for {host}");
            return Self::new(Class::Transient, "EAI_AGAIN", message).hint("is the network up?");
        }
        Self::unknown_host(host)
    }

    pub(super) fn unknown_host(host: &str) -> Self {
        let message = format!("the host {host} is not known");
        Self::new(Class::Transient, "ENOTFOUND", message).hint("check the host in redis.url")
    }

    pub(super) fn no_such_family(host: &str) -> Self {
        let message = format!("the host {host} has no address of the wanted family");
        Self::new(Class::Transient, "ENOTFOUND", message).hint("check redis.family")
    }

    /// The time for this step is over.
    pub(super) fn slow(step: Step) -> Self {
        let (message, hint) = match step {
            Step::LookUp => ("the name service took too long", "is the network up?"),
            Step::Connect => ("no answer in time", "does a firewall drop the packets?"),
            Step::Secure => ("the TLS handshake got no answer in time", PLAIN_PORT),
        };
        Self::new(Class::Transient, "ETIMEDOUT", message).hint(hint)
    }

    fn hung_up(&self) -> bool {
        matches!(self.code, "ECONNRESET" | "EPIPE" | "ECONNABORTED")
    }

    /// Which of several addresses' failures tells most: one that somebody must repair, then one of the server, then
    /// one of the way there.
    fn weight(&self) -> u8 {
        match (self.class, self.code) {
            (Class::Configuration, _) => 3,
            (Class::Capacity | Class::Role, _) => 2,
            (Class::Transient, "ENETUNREACH" | "EHOSTUNREACH" | "EADDRNOTAVAIL" | "ENETDOWN") => 0,
            (Class::Transient, _) => 1,
        }
    }

    /// One failure for all that was tried: the weightiest, with every address in its message.
    pub(super) fn of_all(failures: &[(SocketAddr, Self)]) -> Self {
        let mut reasons: Vec<(&str, Vec<IpAddr>)> = Vec::new();
        for (address, failure) in failures {
            match reasons
                .iter_mut()
                .find(|(reason, _)| *reason == failure.message)
            {
                Some((_, addresses)) => addresses.push(address.ip()),
                None => reasons.push((&failure.message, vec![address.ip()])),
            }
        }
        let reasons: Vec<String> = reasons
            .iter()
            .map(|(reason, at)| with_addresses(reason, at))
            .collect();
        let worst = failures
            .iter()
            .map(|(_, failure)| failure)
            .rev()
            .max_by_key(|failure| failure.weight());
        Self {
            message: reasons.join("; "),
            ..worst.cloned().unwrap_or_else(|| Self::slow(Step::Connect))
        }
    }

    /// Names the endpoint in the message.
    pub(super) fn at(mut self, endpoint: &Endpoint) -> Self {
        self.message = format!("cannot connect to {endpoint}: {}", self.message);
        self
    }
}

fn with_addresses(reason: &str, addresses: &[IpAddr]) -> String {
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    format!("{reason} [{}]", addresses.join(", "))
}

/// A step that can take too long.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    /// DNS.
    LookUp,
    /// TCP.
    Connect,
    /// TLS.
    Secure,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(failures: &[(&str, DialError)]) -> DialError {
        let failures: Vec<_> = failures
            .iter()
            .map(|(ip, error)| (SocketAddr::new(ip.parse().unwrap(), 1), error.clone()))
            .collect();
        DialError::of_all(&failures)
    }

    fn of(kind: io::ErrorKind) -> DialError {
        DialError::of(&io::Error::from(kind))
    }

    #[test]
    fn of_several_failures_the_one_that_tells_most_gives_class_code_and_hint() {
        let unreachable = of(io::ErrorKind::NetworkUnreachable);
        let refused = of(io::ErrorKind::ConnectionRefused);
        let tls = rustls::Error::InvalidCertificate(rustls::CertificateError::Expired);
        let expired = DialError::of(&io::Error::other(tls));
        let told_of_two = told(&[
            ("::1", unreachable.clone()),
            ("10.0.0.1", refused.clone()),
            ("10.0.0.2", refused.clone()),
        ]);
        assert_eq!(
            (told_of_two.code, told_of_two.hint),
            ("ECONNREFUSED", refused.hint)
        );
        assert_eq!(
            told_of_two.message,
            "network unreachable [::1]; connection refused [10.0.0.1, 10.0.0.2]"
        );
        let told_of_all = told(&[
            ("::1", unreachable),
            ("10.0.0.1", expired.clone()),
            ("10.0.0.2", refused),
        ]);
        assert_eq!(
            (told_of_all.class, told_of_all.code),
            (Class::Configuration, "CERT_HAS_EXPIRED")
        );
        assert_eq!(told_of_all.hint, expired.hint);
    }

    #[test]
    fn the_name_service_is_understood_in_the_words_of_each_c_library() {
        let table = [
            (
                "failed to lookup address information: Name or service not known",
                "ENOTFOUND",
            ),
            (
                "failed to lookup address information: No address associated with hostname",
                "ENOTFOUND",
            ),
            (
                "failed to lookup address information: nodename nor servname provided, or not known",
                "ENOTFOUND",
            ),
            (
                "failed to lookup address information: Name does not resolve",
                "ENOTFOUND",
            ),
            (
                "failed to lookup address information: Temporary failure in name resolution",
                "EAI_AGAIN",
            ),
            (
                "failed to lookup address information: Try again",
                "EAI_AGAIN",
            ),
        ];
        for (text, code) in table {
            let fault = DialError::of_lookup("h", &io::Error::other(text));
            assert_eq!(
                (fault.code, fault.class),
                (code, Class::Transient),
                "{text}"
            );
        }
    }

    #[test]
    fn a_machine_that_trusts_nobody_and_a_host_that_no_certificate_can_name_are_told_what_to_do() {
        let nobody = DialError::of(&io::Error::other(VerifierBuilderError::NoRootAnchors));
        assert_eq!(nobody.class, Class::Configuration);
        assert!(
            nobody
                .to_string()
                .contains("install the package ca-certificates"),
            "{nobody}"
        );
        let host = DialError::of(&io::Error::other(InvalidDnsNameError));
        assert_eq!(host.hint, Some("set redis.tls.servername"));
    }

    #[test]
    fn errors_of_the_system_have_nodes_codes() {
        use io::ErrorKind as Kind;
        let table = [
            (Kind::ConnectionReset, "ECONNRESET", Class::Transient),
            (Kind::UnexpectedEof, "ECONNRESET", Class::Transient),
            (Kind::TimedOut, "ETIMEDOUT", Class::Transient),
            (Kind::HostUnreachable, "EHOSTUNREACH", Class::Transient),
            (Kind::PermissionDenied, "EACCES", Class::Configuration),
            (Kind::Other, "EIO", Class::Transient),
        ];
        for (kind, code, class) in table {
            assert_eq!((of(kind).code, of(kind).class), (code, class), "{kind}");
        }
        let full = DialError::of(&io::Error::from_raw_os_error(24));
        assert_eq!(
            (full.code, full.class),
            if cfg!(unix) {
                ("EMFILE", Class::Capacity)
            } else {
                ("EIO", Class::Transient)
            }
        );
    }
}
