//! What a run tells: a line for every sample, and a summary that can stand in a document.

use std::fs::File;
use std::io::Write;

use crate::flat::{self, Figure};
use crate::run::Plan;
use crate::samples::{CSV_HEAD, Sample};
use crate::stage::Ended;

/// The samples as they come, so that a run that ends early leaves them behind.
pub struct Csv(Option<File>);

impl Csv {
    pub fn create(path: Option<String>) -> Self {
        let file = path.map(|path| File::create(&path).expect(&path));
        let mut csv = Self(file);
        csv.write(CSV_HEAD);
        csv
    }

    pub fn add(&mut self, sample: &Sample) {
        self.write(&sample.csv());
    }

    fn write(&mut self, text: &str) {
        if let Some(file) = &mut self.0 {
            file.write_all(text.as_bytes()).unwrap();
        }
    }
}

pub fn progress(sample: &Sample) {
    let Sample { seconds, judged, rate, waiting, table_keys, .. } = sample;
    let rss = sample.steady.rss_bytes >> 20;
    eprintln!(
        "{seconds:.0} s: {judged} judged and compared, {rate:.0}/s, {waiting} waiting; {table_keys} keys, \
         {rss} MiB, {} worker restarts, {} server restarts",
        sample.worker_restarts, sample.server_restarts
    );
}

/// In Markdown.
pub fn summary(plan: &Plan, ended: &Ended, figures: &[Figure]) -> String {
    let Ended { counts, tally, samples, published_again } = ended;
    let Plan { seed, rate, window, .. } = plan;
    let minutes = samples.last().map_or(0.0, |sample| sample.seconds / 60.0);
    let (entries, decided) = (counts.entries, counts.decided);
    format!(
        "Seed {seed}, {minutes:.0} minutes, {rate} actions/s ordered, a window of {} s: {} actions \
         ({published_again} published again), {entries} ledger entries: {} accepted, {} duplicates, {} \
         rejected; {} reports: {} completed, {} released, {} repeated, {} rejected. The restarted worker: {} stops and {} kills, {} of them as the leader that had taken over; \
         the server: {} stops and {} kills; the consumer moved back {} times. The ledger equals the model: \
         lost 0, doubled 0.\n\n{}",
        window.as_secs(),
        counts.inputs,
        decided.accepted,
        decided.duplicates,
        decided.rejected,
        decided.completed + decided.released + decided.repeated + decided.rejected_reports,
        decided.completed,
        decided.released,
        decided.repeated,
        decided.rejected_reports,
        tally.worker_stops,
        tally.worker_kills,
        tally.take_overs,
        tally.server_stops,
        tally.server_kills,
        tally.consumer_moves,
        flat::table(figures)
    )
}
