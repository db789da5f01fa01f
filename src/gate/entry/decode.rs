//! An entry read back.

use uuid::Uuid;

use super::Unread::Foreign;
use super::{
    DIGEST, DUPLICATES, Entry, FORMAT, JUDGED, KEY, Leading, REASON, RUN_ID, SCOPE, SOURCE, Unread,
};
use crate::gate::headers::Headers;
use crate::gate::key::ActionKey;
use crate::gate::report::{Release, Status};
use crate::gate::source::Source;
use crate::gate::verdict::Reason;

/// Reads an entry back. `payload` is looked at for `leading` only.
///
/// The run id of an accepted entry is checked against its source and key: it tells an action that was
/// accepted without a key (though its publisher sent such a header) from one with, and a careless
/// forgery from an entry.
pub fn decode(
    name: &str,
    subject: &str,
    headers: &Headers,
    payload: &[u8],
) -> Result<Entry, Unread> {
    let kind = subject.strip_prefix(name).and_then(|rest| rest.strip_prefix('.'));
    let kind = kind.ok_or(Foreign("its subject is not the gate's"))?;
    match kind.split('.').next().unwrap_or_default() {
        "accepted" => decode_accepted(headers),
        "rejected" => {
            let reason = headers.one(REASON).and_then(Reason::named);
            let reason = reason.ok_or(Foreign("its reason is none of the gate's"))?;
            let [source, judged] = headers.each([SOURCE, JUDGED]);
            let judged = judged.map(|judged| position(Some(judged))).transpose()?;
            Ok(Entry::Rejected { source: position(source)?, reason, judged })
        }
        "judged" => {
            let duplicates = headers.one(DUPLICATES).and_then(|text| text.parse().ok());
            let duplicates = duplicates.ok_or(Foreign("it does not count its duplicates"))?;
            Ok(Entry::Judged { up_to: position(headers.one(JUDGED))?, duplicates })
        }
        "leading" => decode_leading(payload),
        "completed" | "released" => decode_reported(kind, headers),
        _ => Err(Foreign("its subject is of no known kind")),
    }
}

/// A newer body may lack what this version asks of one: its format is read first.
fn decode_leading(payload: &[u8]) -> Result<Entry, Unread> {
    let unclear = |_| Foreign("its body does not say who leads");
    let body: serde_json::Value = serde_json::from_slice(payload).map_err(unclear)?;
    let format = body.get("format").and_then(serde_json::Value::as_u64);
    if let Some(format) = format.filter(|format| *format > FORMAT) {
        let version = body.get("version").and_then(serde_json::Value::as_str);
        return Err(Unread::Newer { format, version: version.unwrap_or("?").to_owned() });
    }
    let leading: Leading = serde_json::from_slice(payload).map_err(unclear)?;
    match leading.format {
        0 => Err(Foreign("its format is 0")),
        _ => Ok(Entry::Leading(Box::new(leading))),
    }
}

fn position(header: Option<&str>) -> Result<Source, Unread> {
    let source = header.and_then(|text| text.parse().ok());
    source.ok_or(Foreign("it names no input position"))
}

fn decode_reported(kind: &str, headers: &Headers) -> Result<Entry, Unread> {
    let [source, judged, run_id, key, scope] = headers.each([SOURCE, JUDGED, RUN_ID, KEY, SCOPE]);
    let source = position(source)?;
    let judged = judged.map(|judged| position(Some(judged))).transpose()?;
    let key = action_key(key, scope)?.ok_or(Foreign("it has no key"))?;
    let status = match kind {
        "completed.succeeded" => Status::Succeeded,
        "completed.failed" => Status::Failed,
        "released.retry" => return Ok(Entry::Released { source, judged, key, by: Release::Retry }),
        "released.operator" => {
            return Ok(Entry::Released { source, judged, key, by: Release::Operator });
        }
        _ => return Err(Foreign("its subject is of no known kind")),
    };
    Ok(Entry::Completed { source, judged, key, run_id: uuid(run_id)?, status })
}

fn uuid(header: Option<&str>) -> Result<Uuid, Unread> {
    let uuid = header.and_then(|text| Uuid::parse_str(text).ok());
    uuid.ok_or(Foreign("it has no run id"))
}

fn action_key(key: Option<&str>, scope: Option<&str>) -> Result<Option<ActionKey>, Unread> {
    let Some(key) = key else { return Ok(None) };
    let scope: Vec<String> = match scope {
        Some(json) => serde_json::from_str(json).map_err(|_| Foreign("its scope is no list"))?,
        None => Vec::new(),
    };
    Ok(Some(ActionKey::new(&scope, key)))
}

fn decode_accepted(headers: &Headers) -> Result<Entry, Unread> {
    let [source, digest, run_id, key, scope] = headers.each([SOURCE, DIGEST, RUN_ID, KEY, SCOPE]);
    let source = position(source)?;
    let digest = digest.and_then(|text| text.parse().ok());
    let digest = digest.ok_or(Foreign("it has no digest"))?;
    let run_id = uuid(run_id)?;
    let key = action_key(key, scope)?;
    let key = key.filter(|key| source.run_id(Some(key)) == run_id);
    if key.is_none() && source.run_id(None) != run_id {
        return Err(Foreign("its run id does not follow from its source and key"));
    }
    Ok(Entry::Accepted { source, key, digest })
}
