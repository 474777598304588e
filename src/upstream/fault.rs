//! What went wrong between the gate and a server, as a reason.

use std::error::Error;
use std::io;

use super::http1;
use super::tls;
use super::upload::Progress;
use crate::reject::{Reason, Reject};

/// The refusal for an exchange that failed before its response head. A fault of the request's own body
/// keeps the reason that the body gave.
pub(super) fn of_exchange(server: &str, error: &hyper::Error, progress: Option<&Progress>) -> Reject {
    of_body_sent(error, progress).unwrap_or_else(|| of_server(server, error))
}

/// The same of an exchange over HTTP/1.1.
pub(super) fn of_http1(server: &str, fault: http1::Fault) -> Reject {
    match fault {
        http1::Fault::Request(reject) => reject,
        fault => of_server(server, &fault),
    }
}

/// The refusal for a response body that broke off over HTTP/1.1.
pub(super) fn of_http1_response(server: &str, fault: http1::Fault) -> Reject {
    match fault {
        http1::Fault::Request(reject) => reject,
        fault => Reject::new(Reason::UpstreamBodyBroken, describe(server, &fault)),
    }
}

/// The refusal for a response body that broke off.
pub(super) fn of_response(server: &str, error: &hyper::Error, progress: Option<&Progress>) -> Reject {
    of_body_sent(error, progress).unwrap_or_else(|| Reject::new(Reason::UpstreamBodyBroken, describe(server, error)))
}

/// The connection ended in place of an answer, as opposed to an answer that is wrong.
pub(super) fn is_closed_early(error: &hyper::Error) -> bool {
    error.is_incomplete_message() || error.is_closed() || error.is_canceled() || chain(error).any(is_closed_connection)
}

/// The same over HTTP/1.1.
pub(super) fn is_closed_early_http1(fault: &http1::Fault) -> bool {
    match fault {
        http1::Fault::Ended { error, .. } => error.as_ref().is_none_or(|error| is_closed_connection(error)),
        http1::Fault::Invalid(_) | http1::Fault::Request(_) => false,
    }
}

/// The server states that it did nothing about the request (RFC 9113 §8.7).
pub(super) fn is_refused_stream(error: &hyper::Error) -> bool {
    chain(error)
        .filter_map(|cause| cause.downcast_ref::<h2::Error>())
        .any(|cause| cause.reason() == Some(h2::Reason::REFUSED_STREAM))
}

/// The same refusal once more.
pub(super) fn copy(reject: &Reject) -> Reject {
    Reject { reason: reject.reason, detail: reject.detail.clone(), retry_after: reject.retry_after, fields: None }
}

/// `server: error: its cause: the cause's cause`.
pub(super) fn describe(server: &str, error: &(dyn Error + 'static)) -> String {
    chain(error).fold(server.to_owned(), |text, cause| format!("{text}: {cause}"))
}

fn of_server(server: &str, error: &(dyn Error + 'static)) -> Reject {
    let reason = if chain(error).any(tls::is_tls_fault) { Reason::UpstreamTls } else { Reason::UpstreamInvalid };
    Reject::new(reason, describe(server, error))
}

fn of_body_sent(error: &hyper::Error, progress: Option<&Progress>) -> Option<Reject> {
    progress
        .and_then(Progress::failure)
        .or_else(|| chain(error).find_map(|cause| cause.downcast_ref::<Reject>()).map(copy))
}

fn is_closed_connection(cause: &(dyn Error + 'static)) -> bool {
    if let Some(error) = cause.downcast_ref::<h2::Error>() {
        return error.is_io() || (error.is_go_away() && error.is_remote());
    }
    cause.downcast_ref::<io::Error>().is_some_and(|error| {
        matches!(
            error.kind(),
            io::ErrorKind::BrokenPipe
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::NotConnected
                | io::ErrorKind::UnexpectedEof
        )
    })
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| (*error).source())
}
