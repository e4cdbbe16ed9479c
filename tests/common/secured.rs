//! A broker that asks who one is, and the means to tell it.
//!
//! Rule: all is made anew for each test: an authority, certificates, passwords. Beside PLAINTEXT, where the test itself is
//! a super user, there are two listeners: `LOGIN` (SASL_SSL with PLAIN and SCRAM-SHA-512) and `CERTIFICATE` (SSL, the
//! client's certificate says who it is).

use std::path::PathBuf;

use super::broker::BrokerOptions;
use super::kafka::Kafka;
use super::{folder, free_port};

/// See the module.
pub struct Secured {
    pub kafka: Kafka,
    /// Where a login is asked for.
    pub login: String,
    /// Where a certificate is asked for.
    pub certificate: String,
    folder: tempfile::TempDir,
    authority: Authority,
}

/// A certificate authority.
pub struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    pub pem: String,
}

// === impl Authority ===

impl Authority {
    pub fn new() -> Self {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut params = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self {
            issuer: rcgen::Issuer::new(params, key),
            pem,
        }
    }

    /// A certificate and its key, for this name and these addresses.
    pub fn sign(&self, name: &str, addresses: &[&str]) -> (String, String) {
        let key = rcgen::KeyPair::generate().expect("a key");
        let addresses: Vec<String> = addresses.iter().map(|address| (*address).to_owned()).collect();
        let mut params = rcgen::CertificateParams::new(addresses).expect("parameters");
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }
}

// === impl Secured ===

impl Secured {
    /// Users log in with [`password`]: the first list by PLAIN, the second by SCRAM-SHA-512.
    pub fn start(plain: &[&str], scram: &[&str]) -> Self {
        let folder = folder();
        let authority = Authority::new();
        let (certificate, key) = authority.sign("broker", &["127.0.0.1"]);
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).expect("a file");
            path.display().to_string()
        };
        let store = file("broker.pem", &format!("{key}{certificate}"));
        let trust = file("ca.pem", &authority.pem);
        let users: Vec<String> = plain
            .iter()
            .map(|user| format!("user_{user}=\"{}\"", password(user)))
            .collect();
        let properties = [
            ("sasl.enabled.mechanisms", "PLAIN,SCRAM-SHA-512".to_owned()),
            (
                "listener.name.login.plain.sasl.jaas.config",
                format!(
                    "org.apache.kafka.common.security.plain.PlainLoginModule required {};",
                    users.join(" ")
                ),
            ),
            (
                "listener.name.login.scram-sha-512.sasl.jaas.config",
                "org.apache.kafka.common.security.scram.ScramLoginModule required;".to_owned(),
            ),
            ("listener.name.certificate.ssl.client.auth", "required".to_owned()),
            ("ssl.keystore.type", "PEM".to_owned()),
            ("ssl.keystore.location", store),
            ("ssl.truststore.type", "PEM".to_owned()),
            ("ssl.truststore.location", trust),
            ("ssl.principal.mapping.rules", "RULE:^CN=([^,]+).*$/$1/".to_owned()),
            (
                "authorizer.class.name",
                "org.apache.kafka.metadata.authorizer.StandardAuthorizer".to_owned(),
            ),
            ("super.users", "User:ANONYMOUS".to_owned()),
        ];
        let (login, certificate) = (free_port(), free_port());
        let kafka = Kafka::start_as(&BrokerOptions {
            properties: properties.map(|(key, value)| (key.to_owned(), value)).to_vec(),
            listeners: vec![("LOGIN", "SASL_SSL", login), ("CERTIFICATE", "SSL", certificate)],
            scram: scram
                .iter()
                .map(|user| format!("SCRAM-SHA-512=[name={user},password={}]", password(user)))
                .collect(),
        });
        Self {
            kafka,
            login: format!("127.0.0.1:{login}"),
            certificate: format!("127.0.0.1:{certificate}"),
            folder,
            authority,
        }
    }

    /// A file that lasts as long as the broker.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path
    }

    /// `--kafka` settings that trust the broker, and no other.
    pub fn trust(&self) -> String {
        format!("ssl.ca.location={}", self.folder.path().join("ca.pem").display())
    }

    /// `--kafka` settings of a login; the password comes out of a file.
    pub fn login_as(&self, user: &str, mechanism: &str) -> Vec<String> {
        // With a line break at its end, as editors leave it.
        let file = self.file(&format!("{user}.password"), &format!("{}\n", password(user)));
        vec![
            "security.protocol=SASL_SSL".to_owned(),
            self.trust(),
            format!("sasl.mechanism={mechanism}"),
            format!("sasl.username={user}"),
            format!("sasl.password=${{file:{}}}", file.display()),
        ]
    }

    /// `--kafka` settings of somebody with a certificate.
    pub fn certified_as(&self, user: &str) -> Vec<String> {
        let (certificate, key) = self.authority.sign(user, &[]);
        let certificate = self.file(&format!("{user}.pem"), &certificate);
        let key = self.file(&format!("{user}.key"), &key);
        vec![
            "security.protocol=SSL".to_owned(),
            self.trust(),
            format!("ssl.certificate.location={}", certificate.display()),
            format!("ssl.key.location={}", key.display()),
        ]
    }
}

/// What the user logs in with: long enough to be found wherever it is shown.
pub fn password(user: &str) -> String {
    format!("geheim=4711+{user}")
}
