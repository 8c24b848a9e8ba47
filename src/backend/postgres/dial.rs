//! Connecting to PostgreSQL, and talking to it, in limited time, with TLS or without.
//!
//! The driver's own limit ends with the TCP connection: a server that accepts it and then says
//! nothing (it is stopped, or no server at all) would hold the caller for ever. So the driver gets a
//! stream that fails when the time of the call in flight is over, or the call is cut off: see
//! [`Line`]. The driver leaves the stream to its caller where TLS is to begin at once; here the server
//! is asked first, as always.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Sleep, sleep_until};

use crate::sync::line::Line;

use postgres::Socket;
use postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};

/// Asks the server whether it speaks TLS.
const TLS_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

#[cfg(feature = "tls")]
type MakeTls = tokio_postgres_rustls::MakeRustlsConnect;
#[cfg(not(feature = "tls"))]
type MakeTls = postgres::NoTls;

type Tls = <MakeTls as MakeTlsConnect<Limited>>::TlsConnect;
type Encrypted = <MakeTls as MakeTlsConnect<Limited>>::Stream;

/// How to connect once.
pub(super) struct Dial {
    /// None: without TLS.
    pub tls: Option<MakeTls>,
    /// Whether a server without TLS will not do.
    pub required: bool,
    /// Knows how long the stream may be silent.
    pub line: Arc<Line>,
}

impl MakeTlsConnect<Socket> for Dial {
    type Stream = Stream;
    type TlsConnect = Call;
    type Error = <MakeTls as MakeTlsConnect<Limited>>::Error;

    fn make_tls_connect(&mut self, domain: &str) -> Result<Call, Self::Error> {
        let tls =
            self.tls.as_mut().map(|tls| MakeTlsConnect::<Limited>::make_tls_connect(tls, domain));
        Ok(Call { tls: tls.transpose()?, required: self.required, line: self.line.clone() })
    }
}

/// One connection to be made over a socket.
pub(super) struct Call {
    tls: Option<Tls>,
    required: bool,
    line: Arc<Line>,
}

impl TlsConnect<Socket> for Call {
    type Stream = Stream;
    type Error = Box<dyn std::error::Error + Sync + Send>;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, Self::Error>> + Send>>;

    fn connect(self, socket: Socket) -> Self::Future {
        Box::pin(async move {
            let mut socket = Limited { socket, line: self.line, alarm: None };
            let Some(tls) = self.tls else { return Ok(Stream::Plain(socket)) };
            socket.write_all(&TLS_REQUEST).await?;
            match socket.read_u8().await? {
                b'S' => Ok(Stream::Encrypted(Box::new(tls.connect(socket).await?))),
                _ if self.required => Err("the server does not support TLS".into()),
                _ => Ok(Stream::Plain(socket)),
            }
        })
    }
}

/// A socket that fails when the time of the call is over, or the call is cut off.
pub(super) struct Limited {
    socket: Socket,
    line: Arc<Line>,
    /// Wakes the task at the end of the call, or of an earlier one: moving it costs more than waking.
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Limited {
    /// Gives what the socket gave; where that is nothing yet, an error if it was waited for too long.
    fn limited<T>(
        &mut self,
        context: &mut Context<'_>,
        poll: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            return poll;
        }
        self.line.waits(context.waker());
        if self.line.is_cut() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let Some(until) = self.line.until() else { return Poll::Pending };
        loop {
            let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(until.into())));
            if alarm.deadline().into_std() > until {
                alarm.as_mut().reset(until.into());
            }
            if alarm.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            if Instant::now() >= until {
                let message = "the server did not answer in time";
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, message)));
            }
            self.alarm = None;
        }
    }
}

impl AsyncRead for Limited {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.socket).poll_read(context, buffer);
        self.limited(context, poll)
    }
}

impl AsyncWrite for Limited {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.socket).poll_write(context, bytes);
        self.limited(context, poll)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.socket).poll_flush(context);
        self.limited(context, poll)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.socket).poll_shutdown(context);
        self.limited(context, poll)
    }
}

/// What the driver speaks over.
pub(super) enum Stream {
    Plain(Limited),
    Encrypted(Box<Encrypted>),
}

impl TlsStream for Stream {
    fn channel_binding(&self) -> ChannelBinding {
        match self {
            Stream::Plain(_) => ChannelBinding::none(),
            Stream::Encrypted(stream) => stream.channel_binding(),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Stream::Encrypted(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Encrypted(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(context),
            Stream::Encrypted(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Encrypted(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
