//! What the errors of sockets, of TLS and of certificates mean: class, code and hint for each. The codes are those that
//! Node shows, which for TLS are OpenSSL's.

use std::io;

use rustls::{AlertDescription, CertificateError, Error as TlsError};

use super::fault::DialError;
use crate::resilience::backoff::Class;

pub(super) const PLAIN_PORT: &str = "is this a TLS port? if not, use redis://";
pub(super) const TLS_PORT: &str = "is this a TLS port? use rediss://";
const TRUST: &str = "give the authority that signed it as redis.tls.ca, or in the file that NODE_EXTRA_CA_CERTS names";
const CLIENT: &str =
    "the server wants a client certificate it trusts: set redis.tls.cert and redis.tls.key";

/// The codes that `io::ErrorKind` has no name for.
const EMFILE: i32 = 24;
const ENFILE: i32 = 23;

#[allow(
    clippy::wildcard_enum_match_arm,
    reason = "the enum is foreign and non-exhaustive"
)]
pub(super) fn of_system(error: &io::Error) -> DialError {
    use io::ErrorKind as Kind;
    if cfg!(unix) && matches!(error.raw_os_error(), Some(EMFILE | ENFILE)) {
        return DialError::new(
            Class::Capacity,
            "EMFILE",
            "this process has no file descriptor to spare",
        )
        .hint("raise the limit of open files (ulimit -n)");
    }
    let (code, message) = match error.kind() {
        Kind::ConnectionRefused => ("ECONNREFUSED", "connection refused"),
        Kind::ConnectionReset => ("ECONNRESET", "connection reset by the server"),
        Kind::UnexpectedEof => ("ECONNRESET", "connection closed by the server"),
        Kind::ConnectionAborted => ("ECONNABORTED", "connection aborted"),
        Kind::BrokenPipe => ("EPIPE", "connection closed by the server"),
        Kind::TimedOut => ("ETIMEDOUT", "no answer in time"),
        Kind::HostUnreachable => ("EHOSTUNREACH", "no route to the host"),
        Kind::NetworkUnreachable => ("ENETUNREACH", "network unreachable"),
        Kind::NetworkDown => ("ENETDOWN", "network down"),
        Kind::AddrNotAvailable => ("EADDRNOTAVAIL", "no local address to connect from"),
        Kind::NotFound => ("ENOENT", "there is no such socket"),
        Kind::PermissionDenied => ("EACCES", "permission denied"),
        _ => return DialError::new(Class::Transient, "EIO", error.to_string()),
    };
    let fault = DialError::new(Class::Transient, code, message);
    match code {
        "ECONNREFUSED" => fault.hint("is Redis running there?"),
        "ENOENT" => fault.hint("is Redis running, with that unixsocket?"),
        "EACCES" => DialError {
            class: Class::Configuration,
            ..fault.hint("check the permissions of the socket, or the firewall of this machine")
        },
        _ => fault,
    }
}

#[allow(
    clippy::wildcard_enum_match_arm,
    reason = "the enum is foreign and non-exhaustive"
)]
pub(super) fn of_tls(error: &TlsError) -> DialError {
    let fault =
        |code, hint| DialError::new(Class::Configuration, code, format!("TLS: {error}")).hint(hint);
    match error {
        TlsError::InvalidCertificate(certificate) => of_certificate(certificate),
        // What a server that speaks plain text, or HTTP, answers to a ClientHello.
        TlsError::InvalidMessage(_) => DialError::new(
            Class::Configuration,
            "ERR_SSL_WRONG_VERSION_NUMBER",
            "the server's answer to the TLS handshake is not TLS",
        )
        .hint(PLAIN_PORT),
        TlsError::AlertReceived(alert) => of_alert(*alert),
        TlsError::PeerIncompatible(_) => fault(
            "ERR_SSL_UNSUPPORTED_PROTOCOL",
            "the server must speak TLS 1.2 or 1.3",
        ),
        _ => DialError::new(Class::Configuration, "EPROTO", format!("TLS: {error}")),
    }
}

#[allow(
    clippy::wildcard_enum_match_arm,
    reason = "the enum is foreign and non-exhaustive"
)]
fn of_alert(alert: AlertDescription) -> DialError {
    use AlertDescription as Alert;
    let fault = |code| {
        DialError::new(
            Class::Configuration,
            code,
            format!("the server ended TLS with {alert:?}"),
        )
    };
    match alert {
        Alert::CertificateRequired
        | Alert::NoCertificate
        | Alert::BadCertificate
        | Alert::UnsupportedCertificate
        | Alert::CertificateRevoked
        | Alert::CertificateExpired
        | Alert::CertificateUnknown
        | Alert::UnknownCA
        | Alert::AccessDenied => fault("ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED").hint(CLIENT),
        Alert::UnrecognisedName => {
            fault("ERR_SSL_TLSV1_UNRECOGNIZED_NAME").hint("set redis.tls.servername")
        }
        // Redis without a certificate of its own, or one that wants ours under TLS 1.2, says no more than this.
        Alert::HandshakeFailure => fault("ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE").hint(CLIENT),
        Alert::ProtocolVersion => fault("ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION")
            .hint("the server must speak TLS 1.2 or 1.3"),
        _ => DialError {
            class: Class::Transient,
            ..fault("EPROTO")
        },
    }
}

#[allow(
    clippy::wildcard_enum_match_arm,
    reason = "the enum is foreign and non-exhaustive"
)]
fn of_certificate(error: &CertificateError) -> DialError {
    use CertificateError as Cert;
    let (code, hint) = match error {
        Cert::Expired | Cert::ExpiredContext { .. } => (
            "CERT_HAS_EXPIRED",
            "renew the server's certificate, or set this machine's clock",
        ),
        Cert::NotValidYet | Cert::NotValidYetContext { .. } => (
            "CERT_NOT_YET_VALID",
            "compare the clocks of this machine and of the certificate's maker",
        ),
        Cert::UnknownIssuer => ("UNABLE_TO_VERIFY_LEAF_SIGNATURE", TRUST),
        Cert::BadSignature => ("CERT_SIGNATURE_FAILURE", TRUST),
        Cert::NotValidForName | Cert::NotValidForNameContext { .. } => (
            "ERR_TLS_CERT_ALTNAME_INVALID",
            "set redis.tls.servername to a name that the certificate is for",
        ),
        Cert::Revoked => ("CERT_REVOKED", "renew the server's certificate"),
        Cert::InvalidPurpose | Cert::InvalidPurposeContext { .. } => (
            "INVALID_PURPOSE",
            "the certificate must be for servers (extendedKeyUsage serverAuth)",
        ),
        _ => (
            "ERR_TLS_CERT_INVALID",
            "the server's certificate must be X.509 version 3 and well-formed",
        ),
    };
    DialError::new(
        Class::Configuration,
        code,
        format!("the server's certificate is refused: {error}"),
    )
    .hint(hint)
}
