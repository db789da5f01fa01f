//! From a message to key and digest: payloads of JSON of 200 bytes, 1 KB and 16 KB.
//!
//!     cargo bench --bench decode

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a measurement stops at what it did not expect"
)]

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use oncegate::gate::action::{RawAction, decode};
use oncegate::gate::headers::Headers;
use oncegate::gate::rules::{RuleTexts, Rules};
use oncegate::gate::source::Source;
use serde_json::json;

const HEADERS: &[u8] =
    b"NATS/1.0\r\nIdempotency-Key: 0199b2f0-7c1e-4000-8000-0123456789ab\r\nTrace: t-1\r\n\r\n";

/// The shipped configuration's.
fn rules() -> Rules {
    Rules::new(RuleTexts {
        key_from: vec!["header:Idempotency-Key".into(), "json:/idempotency_key".into()],
        key_scope: Vec::new(),
        key_max_bytes: 255,
        key_missing: "reject".into(),
        payload_compare: "auto".into(),
        payload_ignore: Vec::new(),
    })
    .unwrap()
}

/// So many bytes or a few more: an order of items, numbers and texts, members not in canonical order.
fn payload(bytes: usize) -> Bytes {
    let mut items = Vec::new();
    loop {
        let order =
            json!({ "tenant": "tenant-7", "currency": "EUR", "items": items, "dry_run": false });
        let text = order.to_string();
        if text.len() >= bytes {
            return text.into();
        }
        let number = items.len();
        items.push(json!({ "sku": format!("A-{number:05}"), "price": 12.5, "count": number, "note": "é \"q\"" }));
    }
}

fn decoding(c: &mut Criterion) {
    let rules = rules();
    let mut group = c.benchmark_group("decode");
    for bytes in [200, 1_024, 16_384] {
        let payload = payload(bytes);
        let raw = RawAction {
            source: Source { stream: "ACTIONS".into(), sequence: 1, time_ns: 1 },
            subject: "actions.pay".into(),
            subject_exact: true,
            headers: Headers::parse(HEADERS),
            payload: payload.clone(),
        };
        assert!(decode(raw.clone(), &rules).fault.is_none());
        group.throughput(Throughput::Bytes(payload.len() as u64));
        group.bench_function(format!("{bytes} B"), |b| {
            b.iter_batched(|| raw.clone(), |raw| decode(raw, &rules), BatchSize::SmallInput);
        });
    }
    group.finish();
}

criterion_group!(benches, decoding);
criterion_main!(benches);
