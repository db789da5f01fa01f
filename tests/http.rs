//! Health and metrics, asked over TCP as a probe and a Prometheus would.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread::JoinHandle;

use oncegate::gate::verdict::Reason;
use oncegate::http::{self, Health, Status};
use oncegate::metrics::{Metrics, RECOVERY_CAUSES};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

/// A server on a free port, on a thread of its own.
struct Server {
    address: SocketAddr,
    metrics: Metrics,
    health: Health,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<io::Result<()>>,
}

impl Server {
    fn start() -> Self {
        let (metrics, health) =
            (Metrics::new().unwrap(), Health::new(Status::Starting("connecting".to_owned())));
        let runtime = runtime();
        let listener = runtime.block_on(http::bind(any_port())).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let shutdown = async move { stopped.await.unwrap() };
        let serve = http::serve(listener, metrics.clone(), health.clone(), shutdown);
        let thread = std::thread::spawn(move || runtime.block_on(serve));
        Self { address, metrics, health, stop, thread }
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).unwrap()
    }

    fn ask(&self, method: &str, path: &str) -> Answer {
        let mut stream = self.connect();
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: gate\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        Answer::parse(&text)
    }

    fn get(&self, path: &str) -> Answer {
        self.ask("GET", path)
    }

    /// Ends once the server did.
    fn stop(self) {
        self.stop.send(()).unwrap();
        self.thread.join().unwrap().unwrap();
    }
}

struct Answer {
    code: u16,
    headers: BTreeMap<String, String>,
    body: String,
}

impl Answer {
    fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let (first, headers) = head.split_once("\r\n").unwrap();
        let code = first.strip_prefix("HTTP/1.1 ").unwrap()[..3].parse().unwrap();
        let header = |line: &str| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_lowercase(), value.to_owned())
        };
        Self { code, headers: headers.split("\r\n").map(header).collect(), body: body.to_owned() }
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// Every sample of a text, by name and labels as written; panics at whatever is not the format.
fn samples(text: &str) -> BTreeMap<String, f64> {
    assert!(text.ends_with('\n'), "the last line has no end");
    let mut samples = BTreeMap::new();
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let (kind, rest) = comment.split_once(' ').unwrap();
            assert!(["HELP", "TYPE"].contains(&kind), "{line}");
            assert!(is_name(rest.split_once(' ').unwrap().0), "{line}");
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        check_series(series);
        let value = value.parse().unwrap_or_else(|_| panic!("no value: {line}"));
        let before = samples.insert(series.to_owned(), value);
        assert!(before.is_none(), "twice: {line}");
    }
    samples
}

/// `name` or `name{label="value",..}`; no value here needs an escape.
fn check_series(series: &str) {
    let Some((name, labels)) = series.split_once('{') else {
        assert!(is_name(series), "{series}");
        return;
    };
    assert!(is_name(name), "{series}");
    for label in labels.strip_suffix('}').unwrap().split(',') {
        let (name, value) = label.split_once('=').unwrap();
        assert!(is_name(name), "{series}");
        let value = value.strip_prefix('"').unwrap().strip_suffix('"').unwrap();
        assert!(!value.contains(['"', '\\']), "{series}");
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The samples of the metrics as they stand.
fn now(metrics: &Metrics) -> BTreeMap<String, f64> {
    samples(&metrics.render())
}

#[track_caller]
fn assert_health(status: Status, healthz: u16, readyz: u16, line: &str) {
    let server = Server::start();
    server.health.set(status.clone());
    assert_eq!(server.health.status(), status);
    for (path, code) in [("/healthz", healthz), ("/readyz", readyz)] {
        let answer = server.get(path);
        assert_eq!(answer.code, code, "{path} of {status:?}");
        assert_eq!(
            answer.headers["content-type"], "text/plain; charset=utf-8",
            "{path} of {status:?}"
        );
        assert_eq!(answer.body, format!("{line}\n"), "{path} of {status:?}");
    }
    server.stop();
}

#[test]
fn ready_are_a_leader_and_a_warm_standby() {
    assert_health(Status::Leading, 200, 200, "leading");
    let standby = |warm, leader: &str| Status::StandingBy { warm, leader: leader.to_owned() };
    assert_health(standby(true, "gate-1"), 200, 200, "standing by, warm; leader: gate-1");
    assert_health(standby(true, ""), 200, 200, "standing by, warm; leader not known");
    assert_health(standby(false, "gate-1"), 200, 503, "standing by, not yet warm; leader: gate-1");
}

#[test]
fn who_is_not_ready_says_why() {
    assert_health(
        Status::Starting("connecting to nats://127.0.0.1:4222".to_owned()),
        200,
        503,
        "starting: connecting to nats://127.0.0.1:4222",
    );
    assert_health(Status::Starting(String::new()), 200, 503, "starting");
    assert_health(
        Status::CatchingUp("entry 7 of 9".to_owned()),
        200,
        503,
        "catching up: entry 7 of 9",
    );
    assert_health(
        Status::Waiting("the ledger is full; make room".to_owned()),
        200,
        503,
        "waiting: the ledger is full; make room",
    );
    assert_health(Status::Draining, 200, 503, "draining: asked to stop, takes no more actions");
    assert_health(
        Status::Failed("the key table is corrupt".to_owned()),
        503,
        503,
        "failed: the key table is corrupt",
    );
}

#[test]
fn an_answer_is_one_line_whatever_the_reason_holds() {
    assert_health(
        Status::Failed("\n what:\r\n\twhere\u{2028}and\u{85}how\u{1b}[0m \n".to_owned()),
        503,
        503,
        "failed: what: where and how [0m",
    );
    assert_health(Status::Waiting(" \n".to_owned()), 200, 503, "waiting");
}

#[test]
fn the_status_set_last_is_answered() {
    let server = Server::start();
    assert_eq!(server.get("/readyz").body, "starting: connecting\n");
    let other_handle = server.health.clone();
    other_handle.set(Status::Leading);
    assert_eq!(server.get("/readyz").code, 200);
    other_handle.set(Status::Draining);
    assert_eq!(server.get("/readyz").code, 503);
    server.stop();
}

#[test]
fn other_paths_and_methods_are_refused() {
    let server = Server::start();
    assert_eq!(server.get("/").code, 404);
    assert_eq!(server.get("/metrics/").code, 404);
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(server.ask("POST", path).code, 405, "{path}");
        assert_eq!(server.ask("DELETE", path).code, 405, "{path}");
    }
    let head = server.ask("HEAD", "/healthz");
    assert_eq!((head.code, head.body.as_str()), (200, ""));
    server.stop();
}

#[test]
fn metrics_are_prometheus_text() {
    let server = Server::start();
    server.metrics.accepted(41);
    let answer = server.get("/metrics");
    assert_eq!(answer.code, 200);
    assert_eq!(answer.headers["content-type"], "text/plain; version=0.0.4");
    assert_eq!(
        samples(&answer.body)[r#"oncegate_actions_total{reason="",verdict="accepted"}"#],
        41.0
    );
    server.stop();
}

#[test]
fn every_name_of_the_contract_is_there_from_the_start() {
    let found = now(&Metrics::new().unwrap());
    let mut expected: Vec<String> = [
        "oncegate_receipts_total",
        "oncegate_receipts_dropped_total",
        "oncegate_replies_ignored_total",
        "oncegate_lookup_waiters",
        r#"oncegate_reports_total{reason="",verdict="completed"}"#,
        r#"oncegate_reports_total{reason="",verdict="released"}"#,
        r#"oncegate_reports_total{reason="",verdict="repeated"}"#,
        r#"oncegate_reports_total{reason="result_conflict",verdict="rejected"}"#,
        r#"oncegate_reports_total{reason="unknown_run",verdict="rejected"}"#,
        r#"oncegate_reports_total{reason="invalid_result",verdict="rejected"}"#,
        "oncegate_redeliveries_total",
        "oncegate_input_missed_total",
        "oncegate_foreign_entries_total",
        "oncegate_input_sequence",
        "oncegate_input_lag_messages",
        "oncegate_ledger_sequence",
        "oncegate_inflight_actions",
        "oncegate_leading",
        "oncegate_table_keys",
        "oncegate_table_bytes",
        "oncegate_backup_last_success_timestamp_seconds",
        r#"oncegate_backups_total{outcome="ok"}"#,
        r#"oncegate_backups_total{outcome="failed"}"#,
        "oncegate_decision_duration_seconds_count",
        "oncegate_decision_duration_seconds_sum",
        r#"oncegate_decision_duration_seconds_bucket{le="+Inf"}"#,
        "oncegate_batch_actions_count",
        "oncegate_batch_actions_sum",
        r#"oncegate_batch_actions_bucket{le="+Inf"}"#,
        r#"oncegate_actions_total{reason="",verdict="accepted"}"#,
        r#"oncegate_actions_total{reason="",verdict="duplicate"}"#,
    ]
    .map(str::to_owned)
    .to_vec();
    expected.extend(Reason::OF_ACTIONS.map(rejected_series));
    expected.extend(RECOVERY_CAUSES.map(recovery_series));
    for series in expected {
        assert_eq!(found.get(&series), Some(&0.0), "{series}");
    }
    let build = format!("oncegate_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    assert_eq!(found[&build], 1.0);
}

#[test]
fn no_metric_has_another_prefix() {
    for series in now(&Metrics::new().unwrap()).into_keys() {
        assert!(series.starts_with("oncegate_") || series.starts_with("process_"), "{series}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn the_process_is_described() {
    let found = now(&Metrics::new().unwrap());
    assert!(found["process_resident_memory_bytes"] > 0.0);
    assert!(found["process_open_fds"] > 0.0);
    assert!(found["process_start_time_seconds"] > 0.0);
    assert!(found.contains_key("process_cpu_seconds_total"));
}

#[test]
fn what_is_told_is_shown() {
    let metrics = Metrics::new().unwrap();
    metrics.accepted(2);
    metrics.clone().accepted(3);
    metrics.duplicates(7);
    metrics.receipts(47);
    metrics.receipts_dropped(53);
    metrics.reply_ignored();
    metrics.set_lookup_waiters(59);
    metrics.reported("rejected", "unknown_run");
    metrics.redeliveries(11);
    metrics.input_missed(13);
    metrics.foreign_entries(17);
    metrics.set_input_sequence(19);
    metrics.set_input_lag(23);
    metrics.set_ledger_sequence(29);
    metrics.set_inflight(31);
    metrics.set_leading(true);
    metrics.set_table(37, 41);
    metrics.backup_made(43_999_999_999);
    metrics.backup_failed();
    metrics.backup_failed();
    let found = now(&metrics);
    for (series, value) in [
        (r#"oncegate_actions_total{reason="",verdict="accepted"}"#, 5.0),
        (r#"oncegate_actions_total{reason="",verdict="duplicate"}"#, 7.0),
        ("oncegate_receipts_total", 47.0),
        ("oncegate_receipts_dropped_total", 53.0),
        ("oncegate_replies_ignored_total", 1.0),
        ("oncegate_lookup_waiters", 59.0),
        (r#"oncegate_reports_total{reason="unknown_run",verdict="rejected"}"#, 1.0),
        ("oncegate_redeliveries_total", 11.0),
        ("oncegate_input_missed_total", 13.0),
        ("oncegate_foreign_entries_total", 17.0),
        ("oncegate_input_sequence", 19.0),
        ("oncegate_input_lag_messages", 23.0),
        ("oncegate_ledger_sequence", 29.0),
        ("oncegate_inflight_actions", 31.0),
        ("oncegate_leading", 1.0),
        ("oncegate_table_keys", 37.0),
        ("oncegate_table_bytes", 41.0),
        ("oncegate_backup_last_success_timestamp_seconds", 43.0),
        (r#"oncegate_backups_total{outcome="ok"}"#, 1.0),
        (r#"oncegate_backups_total{outcome="failed"}"#, 2.0),
    ] {
        assert_eq!(found[series], value, "{series}");
    }
    metrics.set_leading(false);
    metrics.set_input_lag(0);
    let found = now(&metrics);
    assert_eq!(found["oncegate_leading"], 0.0);
    assert_eq!(found["oncegate_input_lag_messages"], 0.0);
}

#[test]
fn rejections_are_counted_by_their_own_reason() {
    let metrics = Metrics::new().unwrap();
    for (n, reason) in (1..).zip(Reason::OF_ACTIONS) {
        metrics.rejected(reason, n);
    }
    let found = now(&metrics);
    for (n, reason) in (1..).zip(Reason::OF_ACTIONS) {
        assert_eq!(found[&rejected_series(reason)], f64::from(n), "{reason:?}");
    }
}

#[test]
fn recoveries_are_counted_by_cause_foreseen_or_not() {
    let metrics = Metrics::new().unwrap();
    metrics.recovery("fenced");
    metrics.recovery("fenced");
    metrics.recovery("unforeseen");
    let found = now(&metrics);
    assert_eq!(found[&recovery_series("fenced")], 2.0);
    assert_eq!(found[&recovery_series("unforeseen")], 1.0);
    assert_eq!(found[&recovery_series("feed")], 0.0);
}

#[test]
fn two_sets_of_metrics_are_apart() {
    let (one, other) = (Metrics::new().unwrap(), Metrics::new().unwrap());
    one.redeliveries(1);
    assert_eq!(now(&other)["oncegate_redeliveries_total"], 0.0);
}

#[test]
fn a_duration_is_never_below_zero() {
    let metrics = Metrics::new().unwrap();
    metrics.decision_duration(-3.5);
    metrics.decision_durations(&[-0.001, f64::NEG_INFINITY, f64::NAN, f64::INFINITY, -0.0]);
    let found = now(&metrics);
    assert_eq!(found["oncegate_decision_duration_seconds_sum"], 0.0);
    assert_eq!(found["oncegate_decision_duration_seconds_count"], 6.0);
    assert_eq!(found[&duration_bucket("0.0005")], 6.0);
}

#[test]
fn durations_one_by_one_or_many_at_once_are_the_same() {
    let (one, many) = (Metrics::new().unwrap(), Metrics::new().unwrap());
    let seconds = [0.0005, 0.25, 0.75, 11.0];
    for seconds in seconds {
        one.decision_duration(seconds);
    }
    many.decision_durations(&seconds);
    many.decision_durations(&[]);
    for metrics in [one, many] {
        let found = now(&metrics);
        assert_eq!(found["oncegate_decision_duration_seconds_sum"], 12.0005);
        for (bound, count) in
            [("0.0005", 1.0), ("0.25", 2.0), ("0.5", 2.0), ("1", 3.0), ("10", 3.0), ("+Inf", 4.0)]
        {
            assert_eq!(found[&duration_bucket(bound)], count, "{bound}");
        }
    }
}

#[test]
fn batches_are_counted_by_size() {
    let metrics = Metrics::new().unwrap();
    for actions in [1, 4, 5, 65_536, 65_537] {
        metrics.batch_actions(actions);
    }
    let found = now(&metrics);
    let bucket = |bound| found[&format!("oncegate_batch_actions_bucket{{le=\"{bound}\"}}")];
    assert_eq!(["1", "4", "16", "65536", "+Inf"].map(bucket), [1.0, 2.0, 3.0, 4.0, 5.0]);
}

#[test]
fn a_client_that_never_finishes_holds_up_nobody() {
    let server = Server::start();
    let silent = server.connect();
    let mut halfway = server.connect();
    halfway.write_all(b"GET /healthz HTTP/1.1\r\nHo").unwrap();
    assert_eq!(server.get("/healthz").code, 200);

    server.stop();
    for mut left in [silent, halfway] {
        let mut answer = Vec::new();
        // The end, or a reset: in either case the connection is closed.
        let _ = left.read_to_end(&mut answer);
        assert_eq!(answer, b"");
    }
}

#[test]
fn a_client_that_closes_its_half_is_answered() {
    let server = Server::start();
    let mut stream = server.connect();
    write!(stream, "GET /healthz HTTP/1.0\r\n\r\n").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.ends_with("\r\n\r\nstarting: connecting\n"), "{text}");
    server.stop();
}

#[test]
fn a_connection_carries_one_request() {
    let server = Server::start();
    let answer = server.get("/nothing");
    assert_eq!(answer.headers["connection"], "close");
    server.stop();
}

#[test]
fn an_address_in_use_is_told_with_the_way_out() {
    let server = Server::start();
    let error = runtime().block_on(http::bind(server.address)).unwrap_err().to_string();
    for part in ["http.listen", &server.address.to_string(), "another port", "\"\""] {
        assert!(error.contains(part), "no {part:?} in: {error}");
    }
    assert!(!error.contains('\n'), "{error}");
    server.stop();
}

fn rejected_series(reason: Reason) -> String {
    let reason = reason.as_str();
    format!("oncegate_actions_total{{reason=\"{reason}\",verdict=\"rejected\"}}")
}

fn recovery_series(cause: &str) -> String {
    format!("oncegate_recoveries_total{{cause=\"{cause}\"}}")
}

fn duration_bucket(bound: &str) -> String {
    format!("oncegate_decision_duration_seconds_bucket{{le=\"{bound}\"}}")
}
