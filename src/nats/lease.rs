//! Who may lead: a key in a bucket whose entries live for `ha.takeover`.
//!
//! For liveness only. Two processes may both believe that they hold it; what they write is fenced by the
//! ledger.

use async_nats::jetstream::kv::{CreateErrorKind, Operation, Store};
use serde::{Deserialize, Serialize};

use super::connect::{Connection, chain};

const KEY: &str = "leader";

/// The value of the lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Instance id, kept in the table's directory.
    pub instance: String,
    /// Host name.
    pub host: String,
    /// When it began to hold, RFC 3339.
    pub since: String,
}

/// A lease that is held, by its last revision.
#[derive(Debug)]
pub struct Lease {
    bucket: Store,
    value: bytes::Bytes,
    revision: u64,
}

/// What trying for the lease gave.
#[derive(Debug)]
pub enum Tried {
    /// It is ours.
    Held(Box<Lease>),
    /// Somebody else leads.
    HeldBy(Holder),
}

/// Why the bucket did not answer, or the lease is lost.
#[derive(Debug, thiserror::Error)]
#[error("the lease: {0}")]
pub struct LeaseError(String);

fn failed(error: impl std::error::Error + 'static) -> LeaseError {
    LeaseError(chain(&error))
}

/// Where an instance tries for the lease.
pub struct Candidate<'a> {
    connection: &'a Connection,
    bucket: &'a str,
    holder: &'a Holder,
    store: Option<Store>,
}

impl<'a> Candidate<'a> {
    /// For this instance, in this bucket.
    pub fn new(connection: &'a Connection, bucket: &'a str, holder: &'a Holder) -> Self {
        Self { connection, bucket, holder, store: None }
    }

    /// Takes the lease if nobody has it, or if it is this instance's own: the lock on its table directory
    /// proves that whoever took it then is gone.
    pub async fn try_take(&mut self) -> Result<Tried, LeaseError> {
        let store = match self.store.take() {
            Some(store) => store,
            None => self.connection.jetstream.get_key_value(self.bucket).await.map_err(failed)?,
        };
        let tried = take(&store, self.holder).await?;
        self.store = Some(store);
        Ok(tried)
    }
}

async fn take(store: &Store, holder: &Holder) -> Result<Tried, LeaseError> {
    let value: bytes::Bytes = serde_json::json!(holder).to_string().into();
    let entry = store.entry(KEY).await.map_err(failed)?;
    let live = entry.filter(|entry| entry.operation == Operation::Put);
    let revision = match live {
        None => match store.create(KEY, value.clone()).await {
            Ok(revision) => revision,
            Err(error) if error.kind() == CreateErrorKind::AlreadyExists => {
                return Ok(Tried::HeldBy(unknown()));
            }
            Err(error) => return Err(failed(error)),
        },
        Some(entry) => {
            let current: Holder =
                serde_json::from_slice(&entry.value).unwrap_or_else(|_| unknown());
            if current.instance != holder.instance {
                return Ok(Tried::HeldBy(current));
            }
            store.update(KEY, value.clone(), entry.revision).await.map_err(failed)?
        }
    };
    Ok(Tried::Held(Box::new(Lease { bucket: store.clone(), value, revision })))
}

fn unknown() -> Holder {
    let unknown = || "another".to_owned();
    Holder { instance: unknown(), host: unknown(), since: String::new() }
}

impl Lease {
    /// Renews by revision; an error means that it may be lost.
    pub async fn renew(&mut self) -> Result<(), LeaseError> {
        let renewed = self.bucket.update(KEY, self.value.clone(), self.revision).await;
        self.revision = renewed.map_err(failed)?;
        Ok(())
    }

    /// Gives it back, if it is still ours.
    pub async fn release(self) -> Result<(), LeaseError> {
        let gone = self.bucket.delete_expect_revision(KEY, Some(self.revision)).await;
        gone.map_err(failed)
    }
}
