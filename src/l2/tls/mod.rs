//! TLS for the link: which authorities are trusted, who we are, and whom we expect. Bad PEM is found when the context
//! is made, without I/O; the system's store is read at the first handshake, on a thread that may block. Owns no socket.

mod material;
mod verify;

use std::{env, fmt, io, path::Path, sync::Arc};

use parking_lot::Mutex;
use rustls::{
    ClientConfig, ConfigBuilder, Error, RootCertStore, WantsVerifier,
    client::{VerifierBuilderError, WantsClientCert, WebPkiServerVerifier},
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, ServerName},
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsConnector, client::TlsStream};

use self::{
    material::{Identity, authorities, client, expected, extra, given_name, name_of},
    verify::{Pinned, Unverified},
};
use crate::{config::Tls, error::CacheError};

/// What one cache knows about TLS, kept over all connects.
pub struct TlsContext {
    given: Arc<Tls>,
    name: Option<ServerName<'static>>,
    cached: Mutex<Option<Trusted>>,
}

/// The parsed options.
struct Material {
    authorities: Vec<CertificateDer<'static>>,
    client: Option<Identity>,
    verify: bool,
}

#[derive(Clone)]
struct Trusted {
    config: Arc<ClientConfig>,
    warnings: Arc<[String]>,
    /// The options it was made from, files read.
    read: Tls,
}

/// Everything a handshake needs beside the socket.
pub struct Handshake {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl fmt::Debug for TlsContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsContext").finish_non_exhaustive()
    }
}

impl TlsContext {
    /// Parses the PEM material that is given as text. No I/O: files are read at each handshake.
    ///
    /// # Errors
    /// `ERR_CACHE_OPTIONS` for text that is not PEM of the wanted kind, for a certificate without a key or the reverse,
    /// for a key that does not belong to the certificate, and for a bad server name.
    pub fn new(tls: &Tls) -> Result<Self, CacheError> {
        if !material::reads_files(tls) {
            Material::new(tls)?;
        }
        Ok(Self {
            given: Arc::new(tls.clone()),
            name: tls.servername.as_deref().map(given_name).transpose()?,
            cached: Mutex::new(None),
        })
    }

    /// What a handshake with `host` needs. Reads the system's store the first time. May be cancelled.
    ///
    /// # Errors
    /// If no authority is trusted at all, or `host` is no name that a certificate could be for; the `rustls` error is
    /// inside.
    pub async fn handshake(&self, host: &str) -> io::Result<Handshake> {
        let name = match &self.name {
            Some(name) => name.clone(),
            None => {
                name_of(host).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?
            }
        };
        let config = self.config().await?;
        Ok(Handshake {
            connector: TlsConnector::from(config),
            name,
        })
    }

    async fn config(&self) -> io::Result<Arc<ClientConfig>> {
        let cached = self.cached.lock().clone();
        if let Some(trusted) = &cached
            && !material::reads_files(&self.given)
        {
            return Ok(Arc::clone(&trusted.config));
        }
        let given = Arc::clone(&self.given);
        let made = tokio::task::spawn_blocking(move || renewed(&given, cached)).await;
        let trusted = made.map_err(io::Error::other)?.map_err(io::Error::other)?;
        *self.cached.lock() = Some(trusted.clone());
        Ok(trusted.config)
    }

    /// Reads the system's store and `NODE_EXTRA_CA_CERTS` anew for the next handshake: after a certificate was refused,
    /// since somebody may be renewing authorities.
    pub fn forget(&self) {
        *self.cached.lock() = None;
    }

    #[cfg(test)]
    pub(super) fn is_forgotten(&self) -> bool {
        self.cached.lock().is_none()
    }

    /// What could not be read of the system's store and `NODE_EXTRA_CA_CERTS`, which as in Node is no error. Empty
    /// before the first handshake.
    #[must_use]
    pub fn warnings(&self) -> Arc<[String]> {
        let cached = self.cached.lock();
        cached
            .as_ref()
            .map_or_else(|| Arc::from([]), |trusted| Arc::clone(&trusted.warnings))
    }
}

impl Handshake {
    /// Speaks TLS on `stream`. May be cancelled, which drops the stream.
    ///
    /// # Errors
    /// What the socket or, inside the error, `rustls` says.
    pub async fn over<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
    ) -> io::Result<TlsStream<S>> {
        self.connector.connect(self.name.clone(), stream).await
    }
}

type Problem = Box<dyn std::error::Error + Send + Sync>;

/// What the options and their files say now. While files cannot be used, as when they are being replaced, what they said
/// last. Blocks on files.
fn renewed(given: &Tls, cached: Option<Trusted>) -> Result<Trusted, Problem> {
    let made = || {
        let read = material::read_files(given)?;
        match &cached {
            Some(trusted) if trusted.read == read => Ok(trusted.clone()),
            Some(_) | None => Material::new(&read)?.trusted(read),
        }
    };
    match (made(), cached) {
        (Err(problem), Some(trusted)) => Ok(Trusted {
            warnings: Arc::from([problem.to_string()]),
            ..trusted
        }),
        (made, _) => made,
    }
}

type NeedsClient = ConfigBuilder<ClientConfig, WantsClientCert>;

impl Material {
    fn new(tls: &Tls) -> Result<Self, CacheError> {
        let material = Self {
            authorities: authorities(&tls.ca)?,
            client: client(tls)?,
            verify: tls.reject_unauthorized,
        };
        material.identified(unverified()).map_err(|error| {
            expected(
                "key",
                "the private key of `redis.tls.cert`",
                &error.to_string(),
            )
        })?;
        Ok(material)
    }

    /// The whole configuration, with every authority there is. Blocks on files.
    fn trusted(&self, read: Tls) -> Result<Trusted, Problem> {
        let mut warnings = Vec::new();
        let builder = if self.verify {
            self.verified(&mut warnings)?
        } else {
            unverified()
        };
        Ok(Trusted {
            config: Arc::new(self.identified(builder)?),
            warnings: Arc::from(warnings),
            read,
        })
    }

    fn verified(&self, warnings: &mut Vec<String>) -> Result<NeedsClient, VerifierBuilderError> {
        let native = rustls_native_certs::load_native_certs();
        warnings.extend(native.errors.iter().map(ToString::to_string));
        let mut pinned = self.authorities.clone();
        pinned.extend(extra(
            env::var_os("NODE_EXTRA_CA_CERTS").as_deref().map(Path::new),
            warnings,
        ));
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(native.certs);
        roots.add_parsable_certificates(pinned.iter().cloned());
        let inner =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build()?;
        let verifier = Arc::new(Pinned { inner, pinned });
        Ok(builder()
            .dangerous()
            .with_custom_certificate_verifier(verifier))
    }

    fn identified(&self, builder: NeedsClient) -> Result<ClientConfig, Error> {
        match &self.client {
            Some((chain, key)) => builder.with_client_auth_cert(chain.clone(), key.clone_key()),
            None => Ok(builder.with_no_client_auth()),
        }
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// The process-wide default provider is not ours to set in an addon, so it is always named.
fn builder() -> ConfigBuilder<ClientConfig, WantsVerifier> {
    let builder = ClientConfig::builder_with_provider(provider());
    match builder.with_protocol_versions(rustls::ALL_VERSIONS) {
        Ok(builder) => builder,
        Err(error) => unreachable!("ring speaks TLS 1.2 and 1.3: {error}"),
    }
}

fn unverified() -> NeedsClient {
    let verifier = Arc::new(Unverified(provider()));
    builder()
        .dangerous()
        .with_custom_certificate_verifier(verifier)
}
