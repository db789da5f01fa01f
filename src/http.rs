//! `/healthz`, `/readyz` and `/metrics`.
//!
//! The worker tells its [`Status`] to [`Health`]; [`serve`] answers what was told last. Nothing a client
//! does, or leaves undone, holds up another client, the worker or the end of the process: a connection
//! carries one request, ends with a deadline, and takes one of a bounded number of places.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::Listener;
use axum::{Router, middleware};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::metrics::{self, Metrics};

/// From accept to close; a request is answered in milliseconds.
const CONNECTION_LIFETIME: Duration = Duration::from_secs(10);

/// How long the answers under way at a shutdown may take.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(1);

/// So that the key table never lacks a file descriptor for the sake of this server.
const MAX_CONNECTIONS: usize = 128;

/// What the process is doing, in the words of an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Not yet leader nor standby; what it is at.
    Starting(String),
    /// It leads and has caught up.
    Leading,
    /// It leads, or is about to, and reads the ledger first; how far it is.
    CatchingUp(String),
    /// Another instance leads.
    StandingBy {
        /// The table follows the ledger closely enough to take over at once.
        warm: bool,
        /// Who leads; empty if that is not known.
        leader: String,
    },
    /// It can't go on before something outside changes: the server, the ledger, a clock. What, and
    /// the way out.
    Waiting(String),
    /// It was asked to stop.
    Draining,
    /// It can't go on at all; why.
    Failed(String),
}

impl Status {
    /// Whether `/readyz` is 200.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        matches!(self, Self::Leading | Self::StandingBy { warm: true, .. })
    }

    /// Whether `/healthz` is 200: a restart would not help.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        !matches!(self, Self::Failed(_))
    }
}

/// One line, without its end.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, why) = match self {
            Self::Starting(why) => ("starting", why.as_str()),
            Self::Leading => ("leading", ""),
            Self::CatchingUp(why) => ("catching up", why.as_str()),
            Self::StandingBy { warm: true, leader } => ("standing by, warm; leader", &**leader),
            Self::StandingBy { leader, .. } => ("standing by, not yet warm; leader", &**leader),
            Self::Waiting(why) => ("waiting", why.as_str()),
            Self::Draining => ("draining", "asked to stop, takes no more actions"),
            Self::Failed(why) => ("failed", why.as_str()),
        };
        f.write_str(what)?;
        let mut words = why
            .split(|c: char| c.is_whitespace() || c.is_control())
            .filter(|word| !word.is_empty());
        if let Some(first) = words.next() {
            write!(f, ": {first}")?;
        } else if matches!(self, Self::StandingBy { .. }) {
            f.write_str(" not known")?;
        }
        words.try_for_each(|word| write!(f, " {word}"))
    }
}

/// The status that is shown. A clone is another handle on the same one.
#[derive(Clone, Debug)]
pub struct Health(Arc<watch::Sender<Status>>);

impl Health {
    /// Begins with this status.
    #[must_use]
    pub fn new(status: Status) -> Self {
        Self(Arc::new(watch::Sender::new(status)))
    }

    /// From now on this is answered.
    pub fn set(&self, status: Status) {
        self.0.send_replace(status);
    }

    /// What is answered now.
    #[must_use]
    pub fn status(&self) -> Status {
        self.0.borrow().clone()
    }
}

/// Listens on `http.listen`.
///
/// # Errors
///
/// If that address can't be had; the error names the setting and the way out.
pub async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let way_out = match error.kind() {
            io::ErrorKind::AddrInUse => {
                "Another process (perhaps another oncegate) listens there: stop it, or set \
                 http.listen to another port"
            }
            io::ErrorKind::AddrNotAvailable => {
                "This machine has no such address: set http.listen to one that it has, such as \
                 127.0.0.1 or 0.0.0.0"
            }
            io::ErrorKind::PermissionDenied => {
                "This user may not listen on that port: set http.listen to a port above 1023"
            }
            _ => "Set http.listen to another address",
        };
        anyhow::anyhow!(
            "http.listen: cannot listen on {address} for health and metrics: {error}. {way_out} \
             (\"\" turns health and metrics off)."
        )
    })
}

/// Answers until `shutdown` is done, then closes every connection, at the latest after a second.
///
/// # Errors
///
/// None today: what goes wrong with a connection ends that connection.
pub async fn serve(
    listener: TcpListener,
    metrics: Metrics,
    health: Health,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let stop = CancellationToken::new();
    let cut = CancellationToken::new();
    let limited =
        Limited { listener, places: Arc::new(Semaphore::new(MAX_CONNECTIONS)), cut: cut.clone() };
    // Also if this future is dropped.
    let (_stop_on_drop, _cut_on_drop) = (stop.clone().drop_guard(), cut.clone().drop_guard());

    let mut server = pin!(
        axum::serve(limited, router(metrics, health))
            .with_graceful_shutdown(stop.clone().cancelled_owned())
            .into_future()
    );
    tokio::select! {
        ended = &mut server => return ended,
        () = shutdown => stop.cancel(),
    }
    if let Ok(ended) = tokio::time::timeout(SHUTDOWN_GRACE, &mut server).await {
        return ended;
    }
    cut.cancel();
    server.await
}

#[derive(Clone)]
struct Shown {
    metrics: Metrics,
    health: Health,
}

fn router(metrics: Metrics, health: Health) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(render))
        .with_state(Shown { metrics, health })
        .layer(middleware::map_response(last_on_its_connection))
}

async fn healthz(State(shown): State<Shown>) -> Response {
    let status = shown.health.status();
    answer(status.is_alive(), &status)
}

async fn readyz(State(shown): State<Shown>) -> Response {
    let status = shown.health.status();
    answer(status.is_ready(), &status)
}

async fn render(State(shown): State<Shown>) -> Response {
    let content_type = [(header::CONTENT_TYPE, metrics::CONTENT_TYPE)];
    (content_type, shown.metrics.render()).into_response()
}

fn answer(good: bool, status: &Status) -> Response {
    let code = if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, format!("{status}\n")).into_response()
}

async fn last_on_its_connection(mut response: Response) -> Response {
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
    response
}

/// A listener whose connections are bounded, in number and in time.
struct Limited {
    listener: TcpListener,
    places: Arc<Semaphore>,
    cut: CancellationToken,
}

impl Listener for Limited {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        // The semaphore is never closed.
        let place = Arc::clone(&self.places).acquire_owned().await.ok();
        // The trait's accept: it logs errors and goes on.
        let (stream, peer) = Listener::accept(&mut self.listener).await;
        let cut = self.cut.clone().cancelled_owned();
        let end = async move {
            // Cut off or too old, it is over.
            let _ = tokio::time::timeout(CONNECTION_LIFETIME, cut).await;
        };
        let connection = Connection { stream, end: Some(Box::pin(end)), _place: place };
        (connection, peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that fails once its time is over.
struct Connection {
    stream: TcpStream,
    /// `None` when it is.
    end: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    _place: Option<OwnedSemaphorePermit>,
}

impl Connection {
    /// The stream, unless the time is over. Wakes the task when that comes.
    fn in_time(&mut self, cx: &mut Context<'_>) -> io::Result<Pin<&mut TcpStream>> {
        if let Some(end) = &mut self.end
            && end.as_mut().poll(cx).is_pending()
        {
            return Ok(Pin::new(&mut self.stream));
        }
        self.end = None;
        Err(io::ErrorKind::TimedOut.into())
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.in_time(cx)?.poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.in_time(cx)?.poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.in_time(cx)?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
