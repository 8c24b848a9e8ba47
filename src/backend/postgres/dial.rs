//! Connecting to PostgreSQL in limited time, with TLS or without.
//!
//! The driver's own limit ends with the TCP connection: a server that accepts it and then says
//! nothing (it is stopped, or no server at all) would hold the caller for ever. So the driver gets a
//! stream that fails when the time is over, until the connection is made. The driver leaves the
//! stream to its caller where TLS is to begin at once; here the server is asked first, as always.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Sleep, sleep};

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
    pub limit: Duration,
    /// To be set when the connection is made: the stream has no limit from then on.
    pub connected: Arc<AtomicBool>,
}

impl MakeTlsConnect<Socket> for Dial {
    type Stream = Stream;
    type TlsConnect = Call;
    type Error = <MakeTls as MakeTlsConnect<Limited>>::Error;

    fn make_tls_connect(&mut self, domain: &str) -> Result<Call, Self::Error> {
        let tls =
            self.tls.as_mut().map(|tls| MakeTlsConnect::<Limited>::make_tls_connect(tls, domain));
        Ok(Call {
            tls: tls.transpose()?,
            required: self.required,
            limit: self.limit,
            connected: self.connected.clone(),
        })
    }
}

/// One connection to be made over a socket.
pub(super) struct Call {
    tls: Option<Tls>,
    required: bool,
    limit: Duration,
    connected: Arc<AtomicBool>,
}

impl TlsConnect<Socket> for Call {
    type Stream = Stream;
    type Error = Box<dyn std::error::Error + Sync + Send>;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, Self::Error>> + Send>>;

    fn connect(self, socket: Socket) -> Self::Future {
        Box::pin(async move {
            let limit = Some(Box::pin(sleep(self.limit)));
            let mut socket = Limited { socket, limit, connected: self.connected };
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

/// A socket that fails when the time is over, as long as the connection is not made.
pub(super) struct Limited {
    socket: Socket,
    limit: Option<Pin<Box<Sleep>>>,
    connected: Arc<AtomicBool>,
}

impl Limited {
    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let Some(limit) = &mut self.limit else { return Ok(()) };
        if self.connected.load(Ordering::Acquire) {
            self.limit = None;
        } else if limit.as_mut().poll(context).is_ready() {
            let message = "the server did not answer within connect_timeout_ms";
            return Err(io::Error::new(io::ErrorKind::TimedOut, message));
        }
        Ok(())
    }
}

impl AsyncRead for Limited {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.socket).poll_read(context, buffer)
    }
}

impl AsyncWrite for Limited {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(context)?;
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
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
