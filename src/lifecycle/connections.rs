//! Accepts connections, bounds how many there are, and closes them in good order.
//!
//! On close each connection gets its GOAWAY (HTTP/2) or `Connection: close` (HTTP/1.1); one that
//! is idle ends at once, one with work in flight ends after it; on abort the rest are cut.
//! This file must never look into a request; it only says whose it is.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulConnection;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tower::Service;

use super::Shutdown;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How long an idle connection is given to answer a GOAWAY: on a busy machine its peer hears of it late, and
/// what it sends into a connection that is cut is lost.
const FAREWELL: Duration = Duration::from_secs(2);

/// The bounds of a listener's connections.
#[derive(Debug, Clone)]
pub struct ConnectionLimits {
    /// Connections at a time; a further one waits in the kernel's backlog.
    pub max_connections: usize,
    /// Requests at a time on one HTTP/2 connection.
    pub max_concurrent_streams: u32,
    /// Bytes of a request's header list.
    pub max_header_list_bytes: u32,
    /// An HTTP/2 peer that is silent for this long is pinged.
    pub keepalive_interval: Duration,
    /// A peer that answers neither a ping nor sends its HTTP/1.1 head within this is cut.
    pub keepalive_timeout: Duration,
    /// How long a connection is used; `None` = for good. Each is given up to a tenth more or less.
    pub max_age: Option<Duration>,
    /// How long work in flight may take once a connection is too old.
    pub max_age_grace: Duration,
}

impl ConnectionLimits {
    /// How long connection number `n` of a listener is used. The tenths more or less are spread
    /// evenly (multiples of the golden ratio), so that connections that were opened together do not
    /// end together.
    fn age(&self, n: u64) -> Option<Duration> {
        const GOLDEN: f64 = 0.618_033_988_749_895;
        let spread = 0.9 + 0.2 * (n as f64 * GOLDEN).fract();
        self.max_age.map(|age| age.mul_f64(spread))
    }
}

/// Who is at the other end of a request's connection: an extension of each request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// The protocols that a listener speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpVersion {
    /// HTTP/2 with prior knowledge only, as gRPC needs it.
    Http2,
    /// HTTP/1.1 or HTTP/2, as the peer begins.
    Any,
}

/// Serves `listener` until `shutdown` closes and the last connection is gone or aborted.
pub async fn serve_connections<S, B>(
    listener: TcpListener,
    service: S,
    version: HttpVersion,
    limits: ConnectionLimits,
    shutdown: Shutdown,
) where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let builder = Arc::new(builder(version, &limits));
    let places = Arc::new(Semaphore::new(limits.max_connections.min(Semaphore::MAX_PERMITS)));
    let mut connections = JoinSet::new();
    let mut number = 0_u64;
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.closed() => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &places) => accepted,
        };
        match accepted {
            Ok((stream, peer, place)) => {
                let service = service.clone();
                let (builder, shutdown) = (Arc::clone(&builder), shutdown.clone());
                let life = Life { age: limits.age(number), grace: limits.max_age_grace, shutdown };
                number += 1;
                connections.spawn(async move {
                    connection((stream, peer), service, builder, life).await;
                    drop(place);
                });
            }
            Err(error) => {
                // Out of file descriptors, most likely: without a pause this loop would spin.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, Peer, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, Peer(peer), place))
}

fn builder(version: HttpVersion, limits: &ConnectionLimits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(limits.keepalive_timeout);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.max_concurrent_streams)
        .max_header_list_size(limits.max_header_list_bytes)
        // Callers with short deadlines take requests back before a busy machine has looked at them; by default
        // 20 such end the connection for everybody on it. As many as may be open are no attack.
        .max_pending_accept_reset_streams(Some(limits.max_concurrent_streams as usize))
        .keep_alive_interval(limits.keepalive_interval)
        .keep_alive_timeout(limits.keepalive_timeout)
        // The protocol's own 64 KiB windows cost a round trip for each 64 KiB of a tensor.
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20);
    match version {
        HttpVersion::Http2 => builder.http2_only(),
        HttpVersion::Any => builder,
    }
}

async fn connection<S, B>(
    (stream, peer): (TcpStream, Peer),
    service: S,
    builder: Arc<auto::Builder<TokioExecutor>>,
    life: Life,
) where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let work = watch::Sender::new(0_usize);
    let counted = work.clone();
    let service = tower::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        let mut service = service.clone();
        let in_flight = InFlight::begin(&counted);
        async move {
            let Ok(response) = service.call(request).await;
            Ok::<_, Infallible>(response.map(|body| Tracked {
                body: body.map_err(Into::into).boxed_unsync(),
                _in_flight: in_flight,
            }))
        }
    });
    let served = builder
        .serve_connection_with_upgrades(TokioIo::new(stream), TowerToHyperService::new(service));
    let mut served = pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        grace = life.over() => {
            GracefulConnection::graceful_shutdown(served.as_mut());
            tokio::select! {
                ended = served.as_mut() => ended,
                () = life.shutdown.aborted() => return,
                // Only the end of the process is in such a hurry: a peer that is slow to hear of an
                // age would lose what it sends meanwhile.
                () = idle(work.subscribe()), if grace.is_none() => return,
                () = sleep_for(grace) => {
                    tracing::debug!("a connection that is too old is cut: its grace is over");
                    return;
                }
            }
        }
    };
    if let Err(error) = ended {
        // A peer that hangs up is no event for the operator.
        tracing::debug!(%error, "a connection ended with an error");
    }
}

/// How long a connection is used.
struct Life {
    age: Option<Duration>,
    grace: Duration,
    shutdown: Shutdown,
}

impl Life {
    /// Waits until the connection takes no more requests; says how long those in flight may take,
    /// `None` when the shutdown itself bounds them.
    async fn over(&self) -> Option<Duration> {
        tokio::select! {
            () = self.shutdown.closed() => None,
            () = sleep_for(self.age) => Some(self.grace),
        }
    }
}

/// `None` is for good.
async fn sleep_for(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

/// A request between its head and the end of its answer.
struct InFlight(watch::Sender<usize>);

impl InFlight {
    fn begin(work: &watch::Sender<usize>) -> Self {
        work.send_modify(|count| *count += 1);
        Self(work.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count = count.saturating_sub(1));
    }
}

/// An answer's body: its request is in flight until the last byte is taken.
struct Tracked {
    body: UnsyncBoxBody<Bytes, BoxError>,
    _in_flight: InFlight,
}

impl http_body::Body for Tracked {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Waits until nothing has been in flight for [`FAREWELL`]: a peer that does not answer our GOAWAY
/// has no claim on more of the shutdown's bound.
async fn idle(mut work: watch::Receiver<usize>) {
    loop {
        if work.wait_for(|count| *count == 0).await.is_err() {
            return;
        }
        let busy_again = work.wait_for(|count| *count > 0);
        if tokio::time::timeout(FAREWELL, busy_again).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    fn limits() -> ConnectionLimits {
        ConnectionLimits {
            max_connections: 4,
            max_concurrent_streams: 8,
            max_header_list_bytes: 16 << 10,
            keepalive_interval: Duration::from_secs(30),
            keepalive_timeout: Duration::from_secs(10),
            max_age: None,
            max_age_grace: Duration::from_secs(10),
        }
    }

    /// An HTTP/2 peer that never answers anything: it has sent its preface and settings, no more.
    #[tokio::test]
    async fn a_silent_http2_peer_is_cut_soon_after_the_goaway() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = tower::service_fn(|_: Request<Incoming>| async {
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())))
        });
        let shutdown = Shutdown::new();
        let server = tokio::spawn(serve_connections(
            listener,
            service,
            HttpVersion::Http2,
            limits(),
            shutdown.clone(),
        ));
        let mut peer = TcpStream::connect(address).await.unwrap();
        let settings = [0_u8, 0, 0, 4, 0, 0, 0, 0, 0];
        peer.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        peer.write_all(&settings).await.unwrap();
        let mut first = [0_u8; 9];
        peer.read_exact(&mut first).await.unwrap();
        shutdown.close();
        tokio::time::timeout(limits().keepalive_timeout / 2, server).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn an_idle_connection_does_not_hold_the_end_up_and_work_in_flight_is_answered() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (entered, gate) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let service = {
            let (entered, gate) = (Arc::clone(&entered), Arc::clone(&gate));
            tower::service_fn(move |_: Request<Incoming>| {
                let (entered, gate) = (Arc::clone(&entered), Arc::clone(&gate));
                async move {
                    entered.add_permits(1);
                    drop(gate.acquire().await);
                    Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"done"))))
                }
            })
        };
        let shutdown = Shutdown::new();
        let server = tokio::spawn(serve_connections(
            listener,
            service,
            HttpVersion::Any,
            limits(),
            shutdown.clone(),
        ));
        let idle = TcpStream::connect(address).await.unwrap();
        let mut busy = TcpStream::connect(address).await.unwrap();
        busy.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        drop(entered.acquire().await.unwrap());
        shutdown.close();
        gate.add_permits(1);
        let mut answer = String::new();
        let bound = Duration::from_secs(20);
        tokio::time::timeout(bound, busy.read_to_string(&mut answer)).await.unwrap().unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("done"), "{answer}");
        tokio::time::timeout(Duration::from_secs(5), server).await.unwrap().unwrap();
        drop(idle);
    }
}
