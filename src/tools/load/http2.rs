//! HTTP/2: one connection, many streams, no layer above the protocol itself.

use bytes::Bytes;
use h2::client::{self, SendRequest};
use h2::{RecvStream, SendStream};
use http::header::{CONTENT_LENGTH, HOST};
use http::{Method, Request, Response, Uri};
use tokio::task::JoinHandle;

use super::failure::Failure;
use super::plan::Plan;
use super::stream::Stream;
use super::tally::Reply;

/// A request as it is sent, again and again.
#[derive(Debug)]
pub(super) struct Prepared {
    request: Request<()>,
    body: u64,
}

/// A connection and the task that drives it.
#[derive(Debug)]
pub(super) struct Connection {
    requests: SendRequest<Bytes>,
    driver: JoinHandle<()>,
}

impl Prepared {
    /// # Errors
    /// When the target is no URI.
    pub(super) fn new(plan: &Plan) -> Result<Self, http::Error> {
        let host = plan.headers.iter().find(|(name, _)| name == HOST).and_then(|(_, value)| value.to_str().ok());
        let uri = Uri::builder()
            .scheme(if plan.target.server_name.is_some() { "https" } else { "http" })
            .authority(host.unwrap_or(&plan.target.authority))
            .path_and_query(plan.target.path.as_str())
            .build()?;
        let mut request = Request::builder().method(plan.method.clone()).uri(uri).body(())?;
        for (name, value) in plan.headers.iter().filter(|(name, _)| name != HOST) {
            request.headers_mut().append(name, value.clone());
        }
        if plan.upload > 0 || plan.method == Method::POST {
            request.headers_mut().insert(CONTENT_LENGTH, plan.upload.into());
        }
        Ok(Self { request, body: plan.upload })
    }
}

impl Connection {
    /// The preface and the settings; what the server has to say about them comes with the first response.
    ///
    /// # Errors
    /// When the connection is gone already.
    pub(super) async fn new(stream: Stream) -> Result<Self, Failure> {
        let mut builder = client::Builder::new();
        builder.enable_push(false).initial_window_size(WINDOW).initial_connection_window_size(CONNECTION_WINDOW);
        let (requests, connection) = builder.handshake(stream).await.map_err(|error| Failure::http2(&error))?;
        let driver = tokio::spawn(async move {
            // Its streams hear of it.
            let _ = connection.await;
        });
        Ok(Self { requests, driver })
    }

    /// A way to send requests on it.
    pub(super) fn requests(&self) -> SendRequest<Bytes> {
        self.requests.clone()
    }

    /// Says goodbye.
    pub(super) async fn close(self) {
        let Self { requests, driver } = self;
        // The driver ends with the last sender.
        drop(requests);
        let _ = driver.await;
    }
}

/// One exchange on `requests`, which are ready.
///
/// # Errors
/// What went wrong with the stream, or with all of the connection.
pub(super) async fn exchange(requests: &mut SendRequest<Bytes>, request: &Prepared) -> Result<Reply, h2::Error> {
    let (response, mut body) = requests.send_request(request.request.clone(), request.body == 0)?;
    let mut sent = 0;
    let mut receiving = std::pin::pin!(async { drain(response.await?).await });
    let (status, received) = if request.body == 0 {
        receiving.await?
    } else {
        tokio::select! {
            biased;
            received = &mut receiving => received?,
            // A stream that takes no more has an answer, or an error that it says itself.
            _ = send(&mut body, request.body, &mut sent) => receiving.await?,
        }
    };
    Ok(Reply { status, received, sent })
}

async fn drain(response: Response<RecvStream>) -> Result<(u16, u64), h2::Error> {
    let (head, mut body) = response.into_parts();
    let mut received = 0;
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        received += u64::try_from(data.len()).unwrap_or(u64::MAX);
    }
    Ok((head.status.as_u16(), received))
}

async fn send(body: &mut SendStream<Bytes>, length: u64, sent: &mut u64) -> Result<(), h2::Error> {
    while *sent < length {
        let left = usize::try_from(length - *sent).unwrap_or(usize::MAX);
        body.reserve_capacity(left.min(ZEROS.len()));
        let Some(room) = std::future::poll_fn(|cx| body.poll_capacity(cx)).await else { return Ok(()) };
        let room = room?.min(left).min(ZEROS.len());
        *sent += u64::try_from(room).unwrap_or(u64::MAX);
        body.send_data(Bytes::from_static(ZEROS).slice(..room), *sent == length)?;
    }
    Ok(())
}

/// So large that downloads wait for the server and not for us: what browsers use.
const WINDOW: u32 = 6 * 1024 * 1024;
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
/// The most that one call hands over.
static ZEROS: &[u8] = &[0; 64 * 1024];
