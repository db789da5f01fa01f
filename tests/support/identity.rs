//! Made-up identities, new for each test: nkeys, JWTs, credentials, certificates.

use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    PKCS_ED25519, SigningKey,
};
use serde_json::{Value, json};

const SEED: u8 = 18 << 3;
const OPERATOR: u8 = 14 << 3;
const ACCOUNT: u8 = 0;
const USER: u8 = 20 << 3;

/// A key pair in the form NATS writes it.
pub struct Nkey {
    kind: u8,
    pair: KeyPair,
}

impl Nkey {
    fn new(kind: u8) -> Self {
        let pair = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        Self { kind, pair }
    }

    pub fn user() -> Self {
        Self::new(USER)
    }

    /// The public key: `U...`, `A...`, `O...`.
    pub fn public(&self) -> String {
        let mut bytes = vec![self.kind];
        bytes.extend(self.pair.public_key_raw());
        checked_base32(bytes)
    }

    /// The secret seed: `SU...`.
    pub fn seed(&self) -> String {
        let der = self.pair.serialize_der();
        let mark = der.windows(4).position(|four| four == [4, 34, 4, 32]).unwrap() + 4;
        let mut bytes = vec![SEED | (self.kind >> 5), (self.kind & 31) << 3];
        bytes.extend(&der[mark..mark + 32]);
        checked_base32(bytes)
    }

    /// A JWT of this issuer.
    fn jwt(&self, subject: &str, nats: &Value) -> String {
        let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let head = part(&json!({ "typ": "JWT", "alg": "ed25519-nkey" }));
        let claims = json!({
            "jti": "itest", "iat": 1_700_000_000, "name": "itest",
            "iss": self.public(), "sub": subject, "nats": nats,
        });
        let text = format!("{head}.{}", part(&claims));
        let signature = self.pair.sign(text.as_bytes()).unwrap();
        format!("{text}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
    }
}

fn checked_base32(mut bytes: Vec<u8>) -> String {
    let mut crc = 0_u16;
    for byte in &bytes {
        crc ^= u16::from(*byte) << 8;
        for _ in 0..8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
        }
    }
    bytes.extend(crc.to_le_bytes());
    let bits: Vec<u8> =
        bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| (byte >> bit) & 1)).collect();
    bits.chunks(5)
        .map(|five| {
            let value = (0..5).fold(0, |sum, bit| sum * 2 + five.get(bit).unwrap_or(&0));
            char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"[usize::from(value)])
        })
        .collect()
}

/// An operator with one account, as a server's configuration, and users of that account.
pub struct Operator {
    pub config: String,
    account: Nkey,
}

impl Operator {
    pub fn new() -> Self {
        let (operator, account) = (Nkey::new(OPERATOR), Nkey::new(ACCOUNT));
        let own = operator.jwt(&operator.public(), &json!({ "type": "operator", "version": 2 }));
        let system = Nkey::new(ACCOUNT);
        let limits = json!({
            "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "conn": -1,
            "leaf": -1, "wildcards": true,
        });
        let mut with_streams = limits.clone();
        for limit in ["mem_storage", "disk_storage", "streams", "consumer"] {
            with_streams[limit] = json!(-1);
        }
        let preload = |account: &Nkey, limits: &Value| {
            let nats = json!({ "type": "account", "version": 2, "limits": limits });
            let jwt = operator.jwt(&account.public(), &nats);
            format!("{}: {jwt}", account.public())
        };
        let config = format!(
            "operator: {own}\nsystem_account: {}\nresolver: MEMORY\n\
             resolver_preload {{\n{}\n{}\n}}",
            system.public(),
            preload(&system, &limits),
            preload(&account, &with_streams),
        );
        Self { config, account }
    }

    /// A user's JWT that may be used without its key.
    pub fn bearer(&self) -> String {
        self.user_jwt(&Nkey::user(), true)
    }

    /// A credentials file's text for a new user.
    pub fn credentials(&self) -> String {
        let user = Nkey::user();
        format!(
            "-----BEGIN NATS USER JWT-----\n{}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
            self.user_jwt(&user, false),
            user.seed()
        )
    }

    fn user_jwt(&self, user: &Nkey, bearer: bool) -> String {
        let nats = json!({
            "type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1,
            "bearer_token": bearer,
        });
        self.account.jwt(&user.public(), &nats)
    }
}

/// Writes `ca.pem`, and for server and client `server.pem`, `server.key`, `client.pem`,
/// `client.key`.
pub fn write_certificates(dir: &Path) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).unwrap();
    std::fs::write(dir.join("ca.pem"), authority.pem()).unwrap();
    let issuer = Issuer::new(params, key);
    for (name, purpose) in [
        ("server", ExtendedKeyUsagePurpose::ServerAuth),
        ("client", ExtendedKeyUsagePurpose::ClientAuth),
    ] {
        let key = KeyPair::generate().unwrap();
        let names = vec!["127.0.0.1".to_string(), "localhost".to_string()];
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages = vec![purpose];
        let certificate = params.signed_by(&key, &issuer).unwrap();
        std::fs::write(dir.join(format!("{name}.pem")), certificate.pem()).unwrap();
        std::fs::write(dir.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}
