//! RocksDB's settings. Nearly every look-up is for a key that is not there, so the filters decide.
//! Every choice that is not RocksDB's default has its reason beside it.
//!
//! Column families do not inherit from the database: each is given its own, at every open.

use std::thread::available_parallelism;

use rocksdb::statistics::StatsLevel;
use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompactionStyle,
    DBCompressionType, DBRecoveryMode, LogLevel, MemtableFactory, Options, UniversalCompactOptions,
    UniversalCompactionStopStyle, WriteBufferManager,
};

use super::expiry::Watermark;

/// Family of the keys: [`crate::gate::key::ActionKey`] to [`crate::gate::record::KeyRecord`].
pub(super) const KEYS: &str = "keys";
/// Family of format, owner and positions.
pub(super) const META: &str = "meta";
/// RocksDB's own, which it can't do without; always empty.
const DEFAULT: &str = rocksdb::DEFAULT_COLUMN_FAMILY_NAME;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Small enough for most of it to stay in the processor's cache: more than half of the loop's time in the table is
/// spent on finding the places of new keys.
const WRITE_BUFFER_BYTES: usize = 32 * MIB;
/// What they take, the cache lacks: where compactions are behind, filters would be pushed out by keys that wait.
const WRITE_BUFFERS_MAX: i32 = 3;
/// Runs are merged when there are so many, and not fewer than so many alike: a key is written again less often. Look-ups
/// of keys that are there ask the filters of more runs; few others come so far (`key_filter`).
const RUNS_MERGED_AT: i32 = 32;
const RUNS_MERGED_MIN: i32 = 4;
/// Runs are alike where each is by no more than so much larger or smaller than the next. RocksDB's own rule, which compares
/// the next with all before it together, merges each older run again and again.
const RUNS_ALIKE_PERCENT: i32 = 100;
/// Where merges are so far behind, RocksDB slows commits down, and stops them: its own 20 and 36 are for merges at 4.
const RUNS_SLOWED_AT: i32 = 80;
const RUNS_STOPPED_AT: i32 = 120;
/// RocksDB would merge everything whenever what is newer is twice as large as the oldest run, to free what was
/// overwritten: of keys that come once, nothing. `expiry` rewrites the table when there is something to free.
const SIZE_AMPLIFICATION_MAX_PERCENT: i32 = 1_000_000;
const BLOCK_BYTES: usize = 8 * KIB;
const FILTER_BITS_PER_KEY: f64 = 16.0;
/// Filters and indexes are read in such parts. Whole, those of a large file take 4 MB: where the cache lacks them, for a
/// single key.
const FILTER_PART_BYTES: usize = 4 * KIB;
/// Of a write buffer's bytes, for its own filter: about 20 bits a key.
const MEMTABLE_FILTER_RATIO: f64 = 0.02;
/// Large files, so that a large table has few of them.
const FILE_BYTES: u64 = 128 * MIB as u64;
/// Files held open; most systems allow a process 1024.
const OPEN_FILES_MAX: i32 = 512;

/// What the crate has no setters for.
///
/// - Blocks of a file that a compaction has replaced leave the cache with it. Else they stay until the cache is
///   full: with a small window the whole table is rewritten all the time, and any gate, however few keys it has,
///   would come to take all of the cache's bound. The number is how long RocksDB goes on where blocks are not in the
///   cache: to the end. (At 230 it gave up after ten, the oldest keys' where keys count up, and left what was
///   looked up last.)
/// - LZ4 saves about an eighth, and RocksDB throws away what saves less than an eighth: with slightly longer
///   records all of it would be thrown away.
const KEYS_SETTINGS: &str =
    "uncache_aggressiveness=10000;compression_opts={max_compressed_bytes_per_kb=1000}";

/// Whether each log says what the log before it held, and an opening goes by that.
///
/// A full write buffer is flushed in the background while the next log is written. If the process ends before
/// the flush does, both logs count; and where the first one is lost, or ends early at a place that looks like
/// an end, the second must not be read: keys below the table's position would be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Logs {
    Chained,
    /// For a database without any log, which RocksDB would refuse: a copy that was made after a flush has none.
    Unchained,
}

/// Cache and write buffers of one table, which share one bound and take it only as needed. The cache holds parts of the
/// files' filters (2 bytes a key) and indexes too.
pub(super) struct Memory {
    cache: Cache,
    write_buffers: WriteBufferManager,
}

impl Memory {
    pub(super) fn of(bytes: usize) -> Self {
        let cache = Cache::new_hyper_clock_cache(bytes, 0);
        // Write buffers are flushed early where they would take more than half.
        let write_buffers = WriteBufferManager::new_write_buffer_manager_with_cache(
            bytes / 2,
            false,
            cache.clone(),
        );
        Self { cache, write_buffers }
    }
}

/// The settings of the whole database. Keep them as long as it is open: its counters live there.
pub(super) fn database(logs: Logs, memory: &Memory) -> Result<Options, rocksdb::Error> {
    let chained = format!("track_and_verify_wals={}", logs == Logs::Chained);
    // First: what it returns would not keep alive the buffers and caches that were set before.
    let mut options = Options::default().get_options_from_string(chained)?;
    // Keys and positions reach the disk together, so that the table never leads itself.
    options.set_atomic_flush(true);
    // The log is kept, without fsync: it saves the replay of up to 200 MB of ledger after a crash. Where
    // a power failure tore it, the table is what came before the tear, and lags.
    options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    options.set_paranoid_checks(true);
    options.set_write_buffer_manager(&memory.write_buffers);
    options.set_max_open_files(OPEN_FILES_MAX);
    options.set_max_background_jobs(background_jobs());
    // Written back bit by bit: no burst of dirty pages behind a compaction.
    options.set_bytes_per_sync(MIB as u64);
    options.set_log_level(LogLevel::Warn);
    options.set_keep_log_file_num(3);
    options.set_max_log_file_size(MIB);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    // Plain counters only; timers and histograms cost.
    options.enable_statistics();
    options.set_statistics_level(StatsLevel::ExceptHistogramOrTimers);
    Ok(options)
}

/// A flush and two compactions at once, and a little more where there are cores to spare: a rewrite of the
/// whole table takes one of the two for long, and commits would stall if nothing merged new runs meanwhile.
fn background_jobs() -> i32 {
    available_parallelism().map_or(3, |cores| cores.get().clamp(3, 4) as i32)
}

/// How a table is filled from the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filling {
    /// It is only written, front to back, and read by nobody until it is flushed.
    Written,
    /// Keys are looked up on the way: the ledger holds results of runs.
    WrittenAndRead,
}

/// The same for a table that is filled.
pub(super) fn filling_database(
    filling: Filling,
    memory: &Memory,
) -> Result<Options, rocksdb::Error> {
    let mut options = database(Logs::Chained, memory)?;
    // A memtable that is a plain list takes one writer.
    options.set_allow_concurrent_memtable_write(filling == Filling::WrittenAndRead);
    Ok(options)
}

/// Every family with its settings; `others` are families that a later format may have added.
pub(super) fn families(
    watermark: &Watermark,
    memory: &Memory,
    others: &[String],
) -> Result<Vec<ColumnFamilyDescriptor>, rocksdb::Error> {
    Ok(families_with(keys(watermark, memory)?, others))
}

/// Every family of a table that is being filled.
pub(super) fn filling_families(
    filling: Filling,
    memory: &Memory,
) -> Result<Vec<ColumnFamilyDescriptor>, rocksdb::Error> {
    let keys = keys(&Watermark::default(), memory)?;
    let keys = match filling {
        Filling::Written => as_list(keys),
        Filling::WrittenAndRead => keys,
    };
    Ok(families_with(keys, &[]))
}

fn families_with(keys: Options, others: &[String]) -> Vec<ColumnFamilyDescriptor> {
    let known = [(DEFAULT, Options::default()), (KEYS, keys), (META, meta())];
    let other = others.iter().filter(|name| known.iter().all(|(known, _)| known != name));
    let other: Vec<_> =
        other.map(|name| ColumnFamilyDescriptor::new(name, Options::default())).collect();
    known
        .into_iter()
        .map(|(name, options)| ColumnFamilyDescriptor::new(name, options))
        .chain(other)
        .collect()
}

pub(super) fn keys(watermark: &Watermark, memory: &Memory) -> Result<Options, rocksdb::Error> {
    let mut options = Options::default().get_options_from_string(KEYS_SETTINGS)?;
    // The largest single gain: a miss does not search the write buffers.
    options.set_memtable_whole_key_filtering(true);
    options.set_memtable_prefix_bloom_ratio(MEMTABLE_FILTER_RATIO);
    options.set_block_based_table_factory(&blocks(memory));
    // True would drop the filters of the last run, where nearly all keys are.
    options.set_optimize_filters_for_hits(false);

    options.set_write_buffer_size(WRITE_BUFFER_BYTES);
    options.set_max_write_buffer_number(WRITE_BUFFERS_MAX);
    // A key is written once and read seldom: the least writing wins. Needs twice the disk at its peak.
    options.set_compaction_style(DBCompactionStyle::Universal);
    options.set_level_zero_file_num_compaction_trigger(RUNS_MERGED_AT);
    options.set_level_zero_slowdown_writes_trigger(RUNS_SLOWED_AT);
    options.set_level_zero_stop_writes_trigger(RUNS_STOPPED_AT);
    let mut merging = UniversalCompactOptions::default();
    merging.set_min_merge_width(RUNS_MERGED_MIN);
    merging.set_stop_style(UniversalCompactionStopStyle::Similar);
    merging.set_size_ratio(RUNS_ALIKE_PERCENT);
    merging.set_max_size_amplification_percent(SIZE_AMPLIFICATION_MAX_PERCENT);
    options.set_universal_compaction_options(&merging);
    options.set_target_file_size_base(FILE_BYTES);
    // Digests do not compress, keys do; what will be rewritten soon is not worth it.
    let none = DBCompressionType::None;
    let lz4 = DBCompressionType::Lz4;
    options.set_compression_per_level(&[none, none, lz4, lz4, lz4, lz4, lz4]);
    // No rewriting by the wall clock (RocksDB's own default is 30 days); `expiry` says when.
    options.set_periodic_compaction_seconds(0);
    options.set_ttl(0);
    options.set_compaction_filter("oncegate.expiry", watermark.filter());
    Ok(options)
}

/// Keys are put into a list and sorted when it is flushed: a third of the work of keeping them sorted all
/// the time. But each look-up would copy and sort the list.
fn as_list(mut options: Options) -> Options {
    options.set_memtable_factory(MemtableFactory::Vector);
    options.set_memtable_whole_key_filtering(false);
    options.set_memtable_prefix_bloom_ratio(0.0);
    options
}

fn blocks(memory: &Memory) -> BlockBasedOptions {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_bloom_filter(FILTER_BITS_PER_KEY, false);
    blocks.set_whole_key_filtering(true);
    blocks.set_block_size(BLOCK_BYTES);
    blocks.set_format_version(6);
    // A hash over the files' index (`HashSearch`) would need a prefix extractor, and our keys have no useful
    // prefix. One inside data blocks takes 1.3 bytes a key, and saves time only where a key is found.
    blocks.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    blocks.set_partition_filters(true);
    blocks.set_metadata_block_size(FILTER_PART_BYTES);
    // Filters and indexes are in the cache, so that memory has one bound.
    blocks.set_block_cache(&memory.cache);
    blocks.set_cache_index_and_filter_blocks(true);
    blocks.set_cache_index_and_filter_blocks_with_high_priority(true);
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
    blocks
}

/// A handful of small values that every commit overwrites.
pub(super) fn meta() -> Options {
    let mut options = Options::default();
    options.set_write_buffer_size(WRITE_BUFFER_BYTES);
    options.set_max_write_buffer_number(WRITE_BUFFERS_MAX);
    options.set_compression_type(DBCompressionType::None);
    options.set_periodic_compaction_seconds(0);
    options.set_ttl(0);
    options
}
