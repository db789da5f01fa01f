//! A stream's files, copied and put back while its server is down, and a ledger made anew without its beginning.

use std::path::Path;

use serde_json::json;
use tempfile::TempDir;

use super::raw::Outgoing;
use super::server::copy_tree;
use super::streams::{self, Stored};
use super::world::World;

/// Copies a stream's files.
pub fn copy_of(world: &mut World, stream: &str) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    world.server.kill();
    copy_tree(&world.server.stream_files(stream), copy.path());
    world.server.restart();
    world.reconnect();
    copy
}

/// Puts a stream's files back as they were.
pub fn roll_back(world: &mut World, stream: &str, copy: &Path) {
    world.server.kill();
    let files = world.server.stream_files(stream);
    std::fs::remove_dir_all(&files).unwrap();
    copy_tree(copy, &files);
    world.server.restart();
    world.reconnect();
}

/// Makes the ledger anew with its entries from this sequence on, under their old numbers.
pub fn trim(world: &mut World, from: u64) {
    let last = streams::last_sequence(&mut world.client, "ONCEGATE");
    let kept: Vec<Stored> = streams::read(&mut world.client, "ONCEGATE", from..=last);
    let mut config = streams::info(&mut world.client, "ONCEGATE")["config"].clone();
    config["first_seq"] = json!(from);
    streams::delete(&mut world.client, "ONCEGATE");
    streams::create(&mut world.client, &config);
    let again: Vec<Outgoing> = kept
        .into_iter()
        .map(|stored| Outgoing {
            subject: stored.subject.into_bytes(),
            headers: stored.headers,
            payload: stored.payload,
        })
        .collect();
    let acks = world.client.publish_all(&again);
    assert_eq!(acks[0].sequence, from);
}
