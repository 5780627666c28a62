//! Certificates made by the `openssl` command, once per run, and kept in memory.

use std::{collections::HashMap, fs, path::PathBuf, process::Command, sync::OnceLock};

const VALID: [&str; 2] = ["200101000000Z", "491231000000Z"];
const EXPIRED: [&str; 2] = ["200101000000Z", "210101000000Z"];
const NOT_YET: [&str; 2] = ["480101000000Z", "491231000000Z"];
const LOCAL: &str = "DNS:localhost,IP:127.0.0.1";
const ELSEWHERE: &str = "DNS:redis.example.com";

/// The PEM text of `<name>.crt` or `<name>.key`.
pub(super) fn text(file: &str) -> String {
    static FILES: OnceLock<HashMap<String, String>> = OnceLock::new();
    let files = FILES.get_or_init(|| {
        let authority = Authority::new();
        authority.issue("good", LOCAL, VALID);
        authority.issue("other-name", ELSEWHERE, VALID);
        authority.issue("expired", LOCAL, EXPIRED);
        authority.issue("not-yet", LOCAL, NOT_YET);
        authority.issue("client", "DNS:client", VALID);
        authority.self_signed("own", LOCAL);
        authority.self_signed("own-other-name", ELSEWHERE);
        authority.files()
    });
    files[file].clone()
}

struct Authority {
    folder: PathBuf,
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Authority {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("evenkeel-tls-{}", std::process::id()));
        fs::create_dir_all(folder.join("new")).unwrap();
        fs::write(folder.join("index.txt"), "").unwrap();
        let config = format!(
            "[ca]\ndefault_ca=own\n[own]\ndatabase={0}/index.txt\nnew_certs_dir={0}/new\nrand_serial=yes\n\
             default_md=sha256\npolicy=any\nunique_subject=no\n[any]\ncommonName=supplied\n\
             [req]\ndistinguished_name=dn\n[dn]\n",
            folder.display()
        );
        fs::write(folder.join("openssl.cnf"), config).unwrap();
        let authority = Self { folder };
        authority.self_signed("ca", "DNS:ca");
        authority
    }

    fn openssl(&self, arguments: &[&str]) {
        let run = Command::new("openssl")
            .args(arguments)
            .env("OPENSSL_CONF", self.folder.join("openssl.cnf"))
            .current_dir(&self.folder)
            .output()
            .expect("the tests need the openssl command");
        assert!(
            run.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&run.stderr)
        );
    }

    fn key(&self, name: &str) {
        let key = format!("{name}.key");
        self.openssl(&[
            "ecparam",
            "-name",
            "prime256v1",
            "-genkey",
            "-noout",
            "-out",
            &key,
        ]);
    }

    /// As `openssl req -x509` makes them by default: marked as an authority's.
    fn self_signed(&self, name: &str, san: &str) {
        self.key(name);
        let [key, crt] = ["key", "crt"].map(|suffix| format!("{name}.{suffix}"));
        let [subject, san] = [format!("/CN={name}"), format!("subjectAltName={san}")];
        let ca = "basicConstraints=critical,CA:TRUE";
        let fixed = [
            "req", "-x509", "-new", "-days", "3650", "-addext", ca, "-addext", &san,
        ];
        self.openssl(&[&fixed[..], &["-key", &key, "-subj", &subject, "-out", &crt]].concat());
    }

    /// A certificate for `san`, valid between two dates (`YYMMDDHHMMSSZ`).
    fn issue(&self, name: &str, san: &str, dates: [&str; 2]) {
        self.key(name);
        let [key, csr, crt, ext] =
            ["key", "csr", "crt", "ext"].map(|suffix| format!("{name}.{suffix}"));
        fs::write(self.folder.join(&ext), format!("subjectAltName={san}\n")).unwrap();
        self.openssl(&[
            "req",
            "-new",
            "-key",
            &key,
            "-subj",
            &format!("/CN={name}"),
            "-out",
            &csr,
        ]);
        let signed = [
            "-cert", "ca.crt", "-keyfile", "ca.key", "-in", &csr, "-out", &crt, "-extfile", &ext,
        ];
        let fixed = [
            "ca",
            "-batch",
            "-notext",
            "-startdate",
            dates[0],
            "-enddate",
            dates[1],
        ];
        self.openssl(&[&fixed[..], &signed[..]].concat());
    }

    fn files(&self) -> HashMap<String, String> {
        let entries = fs::read_dir(&self.folder).unwrap().map(Result::unwrap);
        let pem = entries.filter(|entry| {
            entry
                .path()
                .extension()
                .is_some_and(|kind| kind == "crt" || kind == "key")
        });
        let read = |path: PathBuf| fs::read_to_string(path).unwrap();
        pem.map(|entry| (entry.file_name().into_string().unwrap(), read(entry.path())))
            .collect()
    }
}
