//! A stream's files, copied and put back while its server is down.

use std::path::Path;

use tempfile::TempDir;

use super::server::copy_tree;
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
