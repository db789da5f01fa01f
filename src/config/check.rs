//! The rules between settings. A rule is left out where a setting it needs is itself not usable.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::reader::Reader;
use super::secret::Secret;
use super::syntax::{overlap, quoted};
use super::{Config, Nats};

const DAY: Duration = Duration::from_hours(24);

/// Ways to log in, and sources of a password: at most one of each.
const EITHER: [&[&str]; 2] = [
    &["nats.credentials_file", "nats.nkey_seed_file", "nats.user", "nats.token_file", "nats.token"],
    &["nats.password_file", "nats.password"],
];

/// A setting, and those of which it needs one beside it.
const NEEDS: [(&str, &[&str]); 5] = [
    ("nats.user", &["nats.password_file", "nats.password"]),
    ("nats.password_file", &["nats.user"]),
    ("nats.password", &["nats.user"]),
    ("nats.tls_cert", &["nats.tls_key"]),
    ("nats.tls_key", &["nats.tls_cert"]),
];

pub(super) fn fits_together(config: &Config, r: &mut Reader) {
    let given = credentials(&config.nats);
    complete(&given, r);
    one_of_each(&given, r);
    streams_apart(config, r);
    subjects_apart(config, r);
    ledger_outlives_window(config, r);
    backups_apart(config, r);
}

/// The settings of [`EITHER`] and [`NEEDS`] that are given, with their values as they may be shown.
fn credentials(nats: &Nats) -> BTreeMap<&'static str, String> {
    let path = |path: &Option<PathBuf>| path.as_ref().map(|path| quoted(&path.to_string_lossy()));
    let secret = |secret: &Option<Secret>| secret.as_ref().map(Secret::to_string);
    let all = [
        ("nats.credentials_file", path(&nats.credentials_file)),
        ("nats.nkey_seed_file", path(&nats.nkey_seed_file)),
        ("nats.user", nats.user.as_deref().map(quoted)),
        ("nats.password_file", path(&nats.password_file)),
        ("nats.password", secret(&nats.password)),
        ("nats.token_file", path(&nats.token_file)),
        ("nats.token", secret(&nats.token)),
        ("nats.tls_cert", path(&nats.tls_cert)),
        ("nats.tls_key", path(&nats.tls_key)),
    ];
    let given = all.into_iter().filter_map(|(setting, value)| Some((setting, value?)));
    given.collect()
}

fn complete(given: &BTreeMap<&'static str, String>, r: &mut Reader) {
    for (setting, companions) in NEEDS {
        let is_met = |companion: &&str| given.contains_key(companion) || !r.is_sound(companion);
        if let Some(value) = given.get(setting)
            && !companions.iter().any(is_met)
        {
            let allowed = format!("{} beside it", companions.join(" or "));
            r.refuse(setting, value, "incomplete by itself", allowed);
        }
    }
}

fn one_of_each(given: &BTreeMap<&'static str, String>, r: &mut Reader) {
    for rivals in EITHER {
        let mut present = rivals.iter().filter_map(|&rival| given.get_key_value(rival));
        let Some((first, _)) = present.next() else {
            continue;
        };
        for (setting, value) in present {
            let allowed = format!("one of {}; \"\" takes one away", rivals.join(", "));
            r.refuse(setting, value, format!("cannot be used beside {first}"), allowed);
        }
    }
}

/// The gate does not read a stream of its own.
fn streams_apart(config: &Config, r: &mut Reader) {
    if !(r.is_sound("name") && r.is_sound("input.stream")) {
        return;
    }
    let lease = format!("KV_{}", config.bucket());
    let own = [config.ledger_stream(), config.reports_stream(), lease];
    if own.contains(&config.input.stream) {
        let allowed = format!("a stream other than the gate's own {}", own.join(", "));
        r.refuse("input.stream", &quoted(&config.input.stream), "the gate's own stream", allowed);
    }
}

const REPLIES: &str = "answers.reply_prefixes";

/// Some subjects that one setting lays claim to.
struct Claim<'a> {
    setting: &'static str,
    value: &'a str,
    pattern: String,
}

fn claims(config: &Config) -> Vec<Claim<'_>> {
    let claim = |setting, value, pattern| Claim { setting, value, pattern };
    let (name, inbox) = (config.name.as_str(), config.nats.inbox_prefix.as_str());
    let inputs = config.input.subjects.iter();
    let replies = config.answers.reply_prefixes.iter();
    let mut all = vec![claim("name", name, format!("{name}.>"))];
    all.extend(inputs.map(|subject| claim("input.subjects", subject, subject.clone())));
    all.push(claim("nats.inbox_prefix", inbox, format!("{inbox}.>")));
    all.extend(replies.map(|prefix| claim(REPLIES, prefix, format!("{prefix}>"))));
    all
}

/// No two claims may meet, but for two reply prefixes: the gate must not take its own output for
/// actions, nobody may write into its inboxes, and no publisher may have it publish actions.
fn subjects_apart(config: &Config, r: &mut Reader) {
    let mut claims = claims(config);
    claims.retain(|claim| r.is_sound(claim.setting));
    for (i, later) in claims.iter().enumerate() {
        let meets = |earlier: &&Claim| {
            let both_replies = earlier.setting == REPLIES && later.setting == REPLIES;
            !both_replies && overlap(&earlier.pattern, &later.pattern)
        };
        for earlier in claims.iter().take(i).filter(meets) {
            // Whoever gave one setting is not told about the default of another.
            let is_earlier = r.is_given(earlier.setting) && !r.is_given(later.setting);
            let (bad, other) = if is_earlier { (earlier, later) } else { (later, earlier) };
            let what = format!("overlaps with {} = {:?}", other.setting, other.value);
            let allowed = format!("subjects apart from {}", other.pattern);
            r.refuse(bad.setting, &quoted(bad.value), what, allowed);
        }
    }
}

/// The key table must be able to be filled from the ledger.
fn ledger_outlives_window(config: &Config, r: &mut Reader) {
    let Some(max_age) = config.ledger.max_age.filter(|age| !age.is_zero()) else {
        return;
    };
    let least = config.retention.window + DAY;
    if max_age < least && r.is_sound("retention.window") {
        let value = format!("\"{}\"", humantime::format_duration(max_age));
        let allowed =
            format!("\"0s\" for no limit, or at least {}", humantime::format_duration(least));
        r.refuse("ledger.max_age", &value, "shorter than retention.window + 1 day", allowed);
    }
}

/// What replaces a table, or looks whether there is one, must not meet backups, nor the other way round.
fn backups_apart(config: &Config, r: &mut Reader) {
    let Some(backups) = &config.backup.path else {
        return;
    };
    let whole = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let (table, place) = (whole(&config.table.path), whole(backups));
    if r.is_sound("table.path") && (place.starts_with(&table) || table.starts_with(&place)) {
        let table = quoted(&config.table.path.to_string_lossy());
        let what = format!("tangled with table.path = {table}");
        let allowed = "a directory that is neither in it nor around it";
        r.refuse("backup.path", &quoted(&backups.to_string_lossy()), what, allowed);
    }
}
