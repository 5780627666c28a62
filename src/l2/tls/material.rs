//! Reads the PEM texts and the names of the options. What it says about a bad one never quotes it: it may be a key.

use std::{fs, path::Path};

use rustls::{
    RootCertStore,
    pki_types::{
        CertificateDer, InvalidDnsNameError, PrivateKeyDer, ServerName,
        pem::{self, PemObject},
    },
};

use crate::{
    config::{Secret, Tls},
    error::{CacheError, Code},
};

/// Whether a text is the path of a file with the text.
fn is_path(text: &str) -> bool {
    let begins = ["/", "./", "../"]
        .iter()
        .any(|start| text.starts_with(start));
    (begins || Path::new(text).is_absolute()) && !text.contains(['\n', '\r'])
}

fn texts(tls: &Tls) -> impl Iterator<Item = &str> {
    let key = tls.key.as_ref().map(Secret::expose);
    let ca = tls.ca.iter().map(String::as_str);
    ca.chain(tls.cert.as_deref()).chain(key)
}

/// Whether some of the options are paths.
pub(super) fn reads_files(tls: &Tls) -> bool {
    texts(tls).any(is_path)
}

/// The options with the texts of their files. Blocks.
pub(super) fn read_files(tls: &Tls) -> Result<Tls, CacheError> {
    let read = |option: &str, text: &str| {
        if !is_path(text) {
            return Ok(text.to_owned());
        }
        fs::read_to_string(text).map_err(|error| {
            // What looks like a path may be a key.
            let text = if option == "key" { "its file" } else { text };
            expected(
                option,
                "PEM text or a file with it",
                &format!("{text}: {error}"),
            )
        })
    };
    let ca = tls.ca.iter().map(|text| read("ca", text));
    let key = tls.key.as_ref().map(|key| read("key", key.expose()));
    Ok(Tls {
        ca: ca.collect::<Result<_, _>>()?,
        cert: tls
            .cert
            .as_deref()
            .map(|text| read("cert", text))
            .transpose()?,
        key: key.transpose()?.map(Secret::new),
        ..tls.clone()
    })
}

/// A certificate with its chain, and its key.
pub(super) type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

pub(super) fn authorities(texts: &[String]) -> Result<Vec<CertificateDer<'static>>, CacheError> {
    let mut all = Vec::new();
    for text in texts {
        all.extend(certificates(text).map_err(|got| expected("ca", "certificates in PEM", &got))?);
    }
    let mut roots = RootCertStore::empty();
    for each in &all {
        let usable = roots.add(each.clone());
        usable.map_err(|error| expected("ca", "certificates in PEM", &error.to_string()))?;
    }
    Ok(all)
}

pub(super) fn client(tls: &Tls) -> Result<Option<Identity>, CacheError> {
    let (cert, key) = match (&tls.cert, &tls.key) {
        (Some(cert), Some(key)) => (cert, key),
        (None, None) => return Ok(None),
        (Some(_), None) => return Err(expected("key", "given beside `redis.tls.cert`", "nothing")),
        (None, Some(_)) => return Err(expected("cert", "given beside `redis.tls.key`", "nothing")),
    };
    let chain = certificates(cert).map_err(|got| expected("cert", "a certificate in PEM", &got))?;
    let wanted = "a private key in PEM without a passphrase";
    let key = PrivateKeyDer::from_pem_slice(key.expose().as_bytes());
    let key = key.map_err(|error| expected("key", wanted, unreadable(&error)))?;
    Ok(Some((chain, key)))
}

fn certificates(text: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    match read {
        Ok(list) if !list.is_empty() => Ok(list),
        // What environment variables do to line breaks.
        Ok(_) | Err(_) if text.contains("\\n") => {
            Err(r"text with the two characters \n for line breaks".to_owned())
        }
        Ok(_) => Err(unreadable(&pem::Error::NoItemsFound).to_owned()),
        Err(error) => Err(unreadable(&error).to_owned()),
    }
}

/// The parser's own words quote the text, which may be a key.
fn unreadable(error: &pem::Error) -> &'static str {
    if matches!(error, pem::Error::NoItemsFound) {
        return "text that holds none";
    }
    "text that is damaged"
}

pub(super) fn given_name(name: &str) -> Result<ServerName<'static>, CacheError> {
    name_of(name)
        .map_err(|_| expected("servername", "a host name or address", &format!("{name:?}")))
}

/// Certificates name neither the root's dot nor the zone of a link-local address.
pub(super) fn name_of(host: &str) -> Result<ServerName<'static>, InvalidDnsNameError> {
    let address = host
        .split('%')
        .next()
        .filter(|address| address.contains(':'));
    ServerName::try_from(address.unwrap_or(host).trim_end_matches('.').to_owned())
}

pub(super) fn expected(option: &str, wanted: &str, got: &str) -> CacheError {
    CacheError::new(
        Code::Options,
        format!("Expected `redis.tls.{option}` to be {wanted}, got {got}"),
    )
}

/// Node ignores a file of `NODE_EXTRA_CA_CERTS` that it cannot read, with a warning; so do we.
pub(super) fn extra(
    file: Option<&Path>,
    warnings: &mut Vec<String>,
) -> Vec<CertificateDer<'static>> {
    let Some(file) = file.filter(|file| !file.as_os_str().is_empty()) else {
        return Vec::new();
    };
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    read.unwrap_or_else(|error: pem::Error| {
        warnings.push(format!("NODE_EXTRA_CA_CERTS: {}: {error}", file.display()));
        Vec::new()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extra_authorities_that_cannot_be_read_are_a_warning() {
        let mut warnings = Vec::new();
        assert!(
            extra(None, &mut warnings).is_empty()
                && extra(Some(Path::new("")), &mut warnings).is_empty()
        );
        assert!(warnings.is_empty());
        assert!(extra(Some(Path::new("/no/such/ca.pem")), &mut warnings).is_empty());
        assert!(
            warnings[0].starts_with("NODE_EXTRA_CA_CERTS: /no/such/ca.pem: "),
            "{warnings:?}"
        );
    }

    #[test]
    fn a_host_is_named_without_the_dot_of_the_root_and_the_zone() {
        let named = |host: &str| name_of(host).map(|name| name.to_str().into_owned());
        assert_eq!(named("redis.example.com.").unwrap(), "redis.example.com");
        assert_eq!(named("my_redis").unwrap(), "my_redis");
        assert_eq!(named("fe80::1%eth0").unwrap(), "fe80::1");
        assert!(named("a b").is_err());
    }
}
