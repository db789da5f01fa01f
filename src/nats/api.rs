//! One request to the JetStream API.

use async_nats::{HeaderMap, RequestErrorKind};
use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::connect::{Connection, chain};

/// The server's code for a stream that is not there.
pub const STREAM_NOT_FOUND: u64 = 10_059;
/// The server's code for a consumer that is not there.
pub const CONSUMER_NOT_FOUND: u64 = 10_014;
/// The server's code for a message that is not there.
pub const NO_MESSAGE_FOUND: u64 = 10_037;

/// Why a request has no result.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ApiError {
    /// The server answered with an error.
    #[error("{subject}: {description} (error {code})")]
    Server {
        /// What was asked.
        subject: String,
        /// JetStream's `err_code`.
        code: u64,
        /// Its description.
        description: String,
    },
    /// The worker's user may not ask this.
    #[error(
        "the server forbids what the gate needs: {0}. The README has the permissions of the worker."
    )]
    Denied(String),
    /// No answer; worth trying again.
    #[error("{subject}: {why}")]
    Unavailable {
        /// What was asked.
        subject: String,
        /// What the client says.
        why: String,
    },
    /// An answer that can't be read.
    #[error("{subject}: the answer can't be read: {why}")]
    Odd {
        /// What was asked.
        subject: String,
        /// Why.
        why: String,
    },
}

impl ApiError {
    /// The server's error code, if it is one.
    pub fn code(&self) -> Option<u64> {
        match self {
            Self::Server { code, .. } => Some(*code),
            _ => None,
        }
    }
}

#[derive(Deserialize)]
struct Failed {
    error: Option<ServerError>,
}

/// The error object of every JetStream answer.
#[derive(Clone, Debug, Deserialize)]
pub struct ServerError {
    /// HTTP-like.
    pub code: u64,
    /// Exact.
    #[serde(default)]
    pub err_code: u64,
    /// For a person.
    #[serde(default)]
    pub description: String,
}

impl Connection {
    /// Calls `$JS.API.<call>` with a JSON body and reads the answer.
    pub async fn call<T: DeserializeOwned>(
        &self,
        call: &str,
        body: &serde_json::Value,
    ) -> Result<T, ApiError> {
        let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        self.request(self.api_subject(call), None, body).await
    }

    /// Sends a request to any JetStream subject and reads the answer.
    pub async fn request<T: DeserializeOwned>(
        &self,
        subject: String,
        headers: Option<HeaderMap>,
        body: Bytes,
    ) -> Result<T, ApiError> {
        let mut happened = self.happened.clone();
        let denied = happened.wait_for(|now| {
            now.denied.as_ref().is_some_and(|text| text.contains(&format!("\"{subject}\"")))
        });
        let request = self.client.send_request(
            subject.clone(),
            async_nats::Request { payload: Some(body), headers, timeout: None, inbox: None },
        );
        let answer = tokio::select! {
            answer = request => answer,
            Ok(now) = denied => {
                return Err(ApiError::Denied(now.denied.clone().unwrap_or_default()));
            }
        };
        let answer = answer.map_err(|error| {
            // The inbox itself may be what the worker is denied.
            let denied = self.denied().filter(|text| text.contains("Subscription"));
            if let (RequestErrorKind::TimedOut, Some(denied)) = (error.kind(), denied) {
                return ApiError::Denied(denied);
            }
            let why = match error.kind() {
                RequestErrorKind::NoResponders => "JetStream is not available".to_owned(),
                RequestErrorKind::TimedOut => "no answer in time".to_owned(),
                _ => chain(&error),
            };
            ApiError::Unavailable { subject: subject.clone(), why }
        })?;
        read(&subject, &answer.payload)
    }
}

fn read<T: DeserializeOwned>(subject: &str, payload: &[u8]) -> Result<T, ApiError> {
    let odd = |error: serde_json::Error| ApiError::Odd {
        subject: subject.to_owned(),
        why: error.to_string(),
    };
    let failed: Failed = serde_json::from_slice(payload).map_err(odd)?;
    if let Some(error) = failed.error {
        let code = if error.err_code == 0 { error.code } else { error.err_code };
        let description = error.description;
        return Err(ApiError::Server { subject: subject.to_owned(), code, description });
    }
    serde_json::from_slice(payload).map_err(odd)
}
