//! A connection, and what happens to it.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, ConnectError, ConnectErrorKind, ConnectOptions, Event, jetstream};
use tokio::sync::watch;

use crate::config::Nats;

/// The first release whose streams take fast-ingest batches (`allow_batched`) and `CONSUMER.RESET`.
const OLDEST_SERVER: (u64, u64) = (2, 14);
/// How long the server may take to answer a request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// More than any feed has outstanding, so that the client never drops what the server sent.
const SUBSCRIPTION_CAPACITY: usize = 1 << 16;
const RECONNECT_DELAY_MAX: Duration = Duration::from_secs(2);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectFailure {
    /// Worth trying again.
    #[error("no NATS server answers at {servers}: {why}")]
    Unreachable {
        /// As configured.
        servers: String,
        /// What the client says.
        why: String,
    },
    /// Trying again changes nothing.
    #[error(
        "the NATS server at {servers} refuses this worker: {why}. Check the login in the [nats] section \
         (credentials_file, nkey_seed_file, user and password_file, or token_file)."
    )]
    Refused {
        /// As configured.
        servers: String,
        /// What the client says.
        why: String,
    },
    /// A file or a TLS setting.
    #[error("the connection settings are not usable: {0}")]
    Settings(String),
    /// It would ignore what the protocol rests on.
    #[error("the NATS server is version {found}; Oncegate needs {}.{} or newer", OLDEST_SERVER.0, OLDEST_SERVER.1)]
    TooOld {
        /// As the server says.
        found: String,
    },
}

/// What the connection went through, to tell a break from silence.
#[derive(Clone, Debug, Default)]
pub struct Happened {
    /// How often it broke. A subscription made before a break may have missed messages.
    pub breaks: u64,
    /// The server's last word on a permission that is missing.
    pub denied: Option<String>,
}

/// A connection.
#[derive(Clone)]
pub struct Connection {
    /// Core NATS.
    pub client: Client,
    /// With the domain of the configuration.
    pub jetstream: jetstream::Context,
    /// What happens to it.
    pub happened: watch::Receiver<Happened>,
    api_prefix: Arc<str>,
}

impl Connection {
    /// Connects once; `role` is shown in the server's connection list.
    pub async fn open(nats: &Nats, role: &str) -> Result<Self, ConnectFailure> {
        let (sender, happened) = watch::channel(Happened::default());
        let options = options(nats, role)?.event_callback(move |event| {
            note(&sender, event);
            std::future::ready(())
        });
        let client = options.connect(&nats.servers).await.map_err(|error| failure(nats, &error))?;
        let found = client.server_info().version;
        if !is_new_enough(&found) {
            return Err(ConnectFailure::TooOld { found });
        }
        let mut jetstream = match &nats.domain {
            Some(domain) => jetstream::with_domain(client.clone(), domain),
            None => jetstream::new(client.clone()),
        };
        jetstream.set_timeout(REQUEST_TIMEOUT);
        let api_prefix = match &nats.domain {
            Some(domain) => format!("$JS.{domain}.API"),
            None => "$JS.API".to_owned(),
        };
        Ok(Self { client, jetstream, happened, api_prefix: api_prefix.into() })
    }

    /// The subject of a JetStream API call.
    pub fn api_subject(&self, call: &str) -> String {
        format!("{}.{call}", self.api_prefix)
    }

    /// How often the connection broke so far.
    pub fn breaks(&self) -> u64 {
        self.happened.borrow().breaks
    }

    /// The server's last word, since it was connected, on a permission that is missing.
    pub fn denied(&self) -> Option<String> {
        self.happened.borrow().denied.clone()
    }

    /// Comes back when the connection has broken more than `seen` times.
    pub async fn broken_since(&self, seen: u64) {
        let mut happened = self.happened.clone();
        let gone = happened.wait_for(|now| now.breaks > seen).await.is_err();
        if gone {
            tracing::debug!("the connection's task has ended");
        }
    }

    /// The largest message that the server takes, headers and payload together.
    pub fn message_bytes_max(&self) -> usize {
        self.client.server_info().max_payload
    }
}

fn note(sender: &watch::Sender<Happened>, event: Event) {
    tracing::debug!(%event, "connection");
    sender.send_modify(|now| match &event {
        Event::Disconnected | Event::Closed => {
            now.breaks += 1;
            now.denied = None;
        }
        // The client has dropped messages: what was subscribed to has a hole.
        Event::SlowConsumer(_) => now.breaks += 1,
        Event::ServerError(error) => {
            let text = error.to_string();
            if text.to_ascii_lowercase().contains("permissions violation") {
                now.denied = Some(text);
            }
        }
        _ => {}
    });
}

fn options(nats: &Nats, role: &str) -> Result<ConnectOptions, ConnectFailure> {
    let mut options = login(nats)?
        .name(format!("oncegate {role}"))
        .custom_inbox_prefix(&nats.inbox_prefix)
        .request_timeout(Some(REQUEST_TIMEOUT))
        .connection_timeout(Duration::from_secs(5))
        .ping_interval(Duration::from_secs(5))
        .subscription_capacity(SUBSCRIPTION_CAPACITY)
        .read_buffer_capacity(u16::MAX)
        .require_tls(nats.tls_required)
        .reconnect_delay_callback(reconnect_delay);
    if let Some(authorities) = &nats.tls_ca {
        options = options.add_root_certificates(authorities.clone());
    }
    if let (Some(certificate), Some(key)) = (&nats.tls_cert, &nats.tls_key) {
        options = options.add_client_certificate(certificate.clone(), key.clone());
    }
    Ok(options)
}

/// Before this attempt since the connection was last there, counted from one. The client asks before its first
/// connection too, and nothing has failed then.
fn reconnect_delay(attempt: usize) -> Duration {
    match attempt {
        0 | 1 => Duration::ZERO,
        _ => Duration::from_millis(50 << attempt.min(6)).min(RECONNECT_DELAY_MAX),
    }
}

fn login(nats: &Nats) -> Result<ConnectOptions, ConnectFailure> {
    let read = |path: &std::path::Path| {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConnectFailure::Settings(format!("{}: {error}", path.display())))?;
        Ok::<_, ConnectFailure>(text.trim().to_owned())
    };
    if let Some(path) = &nats.credentials_file {
        // The client's pattern for the file wants a line break at its end.
        let text = read(path)? + "\n";
        return ConnectOptions::with_credentials(&text).map_err(|error| {
            ConnectFailure::Settings(format!("nats.credentials_file {}: {error}", path.display()))
        });
    }
    if let Some(path) = &nats.nkey_seed_file {
        return Ok(ConnectOptions::with_nkey(read(path)?));
    }
    if let Some(user) = &nats.user {
        let password = match (&nats.password, &nats.password_file) {
            (Some(password), _) => password.expose().to_owned(),
            (None, Some(path)) => read(path)?,
            (None, None) => String::new(),
        };
        return Ok(ConnectOptions::with_user_and_password(user.clone(), password));
    }
    if let Some(token) = &nats.token {
        return Ok(ConnectOptions::with_token(token.expose().to_owned()));
    }
    if let Some(path) = &nats.token_file {
        return Ok(ConnectOptions::with_token(read(path)?));
    }
    Ok(ConnectOptions::new())
}

fn failure(nats: &Nats, error: &ConnectError) -> ConnectFailure {
    let servers = nats.servers.join(", ");
    let why = chain(error);
    match error.kind() {
        ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
            ConnectFailure::Refused { servers, why }
        }
        ConnectErrorKind::ServerParse | ConnectErrorKind::Tls => ConnectFailure::Settings(why),
        _ => ConnectFailure::Unreachable { servers, why },
    }
}

/// An error with its causes, each once.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

fn is_new_enough(version: &str) -> bool {
    let mut numbers = version.trim_start_matches('v').split(['.', '-']).map(str::parse::<u64>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= OLDEST_SERVER,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{RECONNECT_DELAY_MAX, is_new_enough, reconnect_delay};

    #[test]
    fn versions() {
        for fit in ["2.14.0", "2.15.1", "v2.14.3", "2.15.0-dev", "3.0.0"] {
            assert!(is_new_enough(fit), "{fit}");
        }
        for unfit in ["2.12.8", "2.13.9", "1.99.0", "", "dev"] {
            assert!(!is_new_enough(unfit), "{unfit}");
        }
    }

    #[test]
    fn the_first_attempt_is_made_at_once() {
        assert_eq!(reconnect_delay(1), Duration::ZERO);
        assert_eq!(reconnect_delay(2), Duration::from_millis(200));
        assert_eq!(reconnect_delay(usize::MAX), RECONNECT_DELAY_MAX);
    }
}
