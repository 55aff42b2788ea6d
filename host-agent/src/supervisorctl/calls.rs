//! XML-RPC over the socket: one connection, kept for all calls. Pure std, blocking; a stop may take as long as its
//! daemon's grace, so there is no limit on waiting.

use std::fmt;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use dxr::{FaultResponse, MethodCall, MethodResponse, Value};

use super::real::AGENT;
use crate::socket::fault::Code;

/// Longest answer read: several thousand instances. A longer one is an error, not memory.
const ANSWER_MAX: usize = 64 * 1024 * 1024;

/// Longest head of an answer, and of a line of it.
const HEAD_MAX: u64 = 64 * 1024;

/// Faults our agent never answers, but a Supervisor does (`supervisor/xmlrpc.py`).
pub(super) mod theirs {
    pub(crate) const SHUTDOWN_STATE: i32 = 6;
    pub(crate) const ALREADY_ADDED: i32 = 90;
    pub(crate) const STILL_RUNNING: i32 = 91;
    pub(crate) const CANT_REREAD: i32 = 92;
}

/// The server, connected at the first call.
#[derive(Debug)]
pub(super) struct Server {
    sockets: Vec<PathBuf>,
    connection: Option<Connection>,
}

/// An open connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) url: String,
    stream: BufReader<UnixStream>,
}

/// The first part of an answer.
pub(super) struct Head {
    pub(super) status: u16,
    length: Option<usize>,
}

/// Why a call has no answer.
#[derive(Debug)]
pub(super) enum CallError {
    /// The server's own no.
    Fault { code: i32, text: String },
    /// There is no such socket.
    NoSocket(String),
    /// Nobody listens there any more.
    Refused(String),
    /// Anything else on the way.
    Io { url: String, error: io::Error },
    /// Not HTTP or not XML-RPC, or too much of it.
    Answer { url: String, what: String },
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fault { text, .. } => f.write_str(text),
            Self::NoSocket(url) => write!(f, "{url} no such file"),
            Self::Refused(url) => write!(f, "{url} refused connection"),
            Self::Io { url, error } => write!(f, "{url}: {error}"),
            Self::Answer { url, what } => write!(f, "{url}: {what}"),
        }
    }
}

impl CallError {
    /// The fault's number, if it is one.
    pub(super) fn number(&self) -> Option<i32> {
        match self {
            Self::Fault { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// The fault's code, if it is one of ours.
    pub(super) fn code(&self) -> Option<Code> {
        match self {
            Self::Fault { code, .. } => Code::from_number(*code),
            _ => None,
        }
    }
}

impl Server {
    pub(super) fn new(sockets: Vec<PathBuf>) -> Self {
        Self {
            sockets,
            connection: None,
        }
    }

    /// The same server, not connected.
    pub(super) fn again(&self) -> Self {
        Self::new(self.sockets.clone())
    }

    /// Ends the connection: between two lines of a shell the server may be another process.
    pub(super) fn hang_up(&mut self) {
        self.connection = None;
    }

    /// A new connection to the first socket that answers. The first one's error is told if none does.
    pub(super) fn connect(&self) -> Result<Connection, CallError> {
        let mut first = None;
        for path in &self.sockets {
            let url = url(path);
            match UnixStream::connect(path) {
                Ok(stream) => {
                    let mut connection = Connection::over(stream, url);
                    // The second place is also a real Supervisor's: that one is not ours to speak to.
                    if first.is_none() || connection.is_the_agents() {
                        return Ok(connection);
                    }
                }
                Err(error) => {
                    first.get_or_insert(match error.kind() {
                        ErrorKind::NotFound => CallError::NoSocket(url),
                        ErrorKind::ConnectionRefused => CallError::Refused(url),
                        _ => CallError::Io { url, error },
                    });
                }
            }
        }
        Err(first.unwrap_or_else(|| CallError::NoSocket(String::new())))
    }

    /// Calls a method.
    pub(super) fn call(&mut self, method: &str, params: &[Value]) -> Result<Value, CallError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect()?,
        };
        let result = connection.call(method, params);
        if matches!(result, Ok(_) | Err(CallError::Fault { .. })) {
            self.connection = Some(connection);
        }
        result
    }

    /// Calls a method that answers a string.
    pub(super) fn call_text(&mut self, method: &str) -> Result<String, CallError> {
        match self.call(method, &[])? {
            Value::String(text) => Ok(text),
            other => Err(self.unexpected(method, &other)),
        }
    }

    /// Calls a method that answers an array.
    pub(super) fn call_array(
        &mut self,
        method: &str,
        params: &[Value],
    ) -> Result<Vec<Value>, CallError> {
        match self.call(method, params)? {
            Value::Array(values) => Ok(values),
            other => Err(self.unexpected(method, &other)),
        }
    }

    /// The error for an answer of another type than the method's.
    pub(super) fn unexpected(&self, method: &str, value: &Value) -> CallError {
        let url = self.sockets.first().map(|path| url(path));
        let mut shown = format!("{value:?}");
        shown.truncate(shown.floor_char_boundary(100));
        CallError::Answer {
            url: url.unwrap_or_default(),
            what: format!("unexpected answer to {method}: {shown}"),
        }
    }
}

impl Connection {
    pub(super) fn over(stream: UnixStream, url: String) -> Self {
        let stream = BufReader::new(stream);
        Self { url, stream }
    }

    fn is_the_agents(&mut self) -> bool {
        let name = self.call("supervisor.getIdentification", &[]);
        matches!(name, Ok(Value::String(name)) if name == AGENT)
    }

    /// Calls a method. After any error but a fault the connection is of no more use.
    pub(super) fn call(&mut self, method: &str, params: &[Value]) -> Result<Value, CallError> {
        let call = MethodCall {
            name: method.into(),
            params: params.to_vec(),
        };
        let body = call
            .to_xml()
            .map_err(|error| self.garbled(error.to_string()))?;
        let answer = self.post(&format!("<?xml version='1.0'?>\n{body}\n"))?;
        if let Ok(response) = MethodResponse::from_xml(&answer) {
            return Ok(response.value);
        }
        match FaultResponse::from_xml(&answer) {
            Ok(response) => Err(CallError::Fault {
                code: response.fault.code(),
                text: response.fault.string().to_owned(),
            }),
            Err(_) => Err(self.garbled("the answer is not XML-RPC".to_owned())),
        }
    }

    /// Whether there is something to read already.
    pub(super) fn is_buffered(&self) -> bool {
        !self.stream.buffer().is_empty()
    }

    fn garbled(&self, what: String) -> CallError {
        let url = self.url.clone();
        CallError::Answer { url, what }
    }

    fn io<T>(&self, result: io::Result<T>) -> Result<T, CallError> {
        result.map_err(|error| {
            let url = self.url.clone();
            CallError::Io { url, error }
        })
    }

    fn post(&mut self, body: &str) -> Result<String, CallError> {
        let request = format!(
            "POST /RPC2 HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/xml\r\nContent-Length: {}\r\n\r\n{body}",
            body.len(),
        );
        let sent = self.stream.get_mut().write_all(request.as_bytes());
        // A server that is full says so and closes without reading.
        let head = match (sent, self.head()) {
            (Err(error), Err(_)) => return self.io(Err(error)),
            (_, head) => head?,
        };
        let length = head.length.filter(|length| *length <= ANSWER_MAX);
        let Some(length) = length else {
            return Err(self.garbled(format!("status code {}, no usable length", head.status)));
        };
        let mut answer = vec![0; length];
        let read = self.stream.read_exact(&mut answer);
        self.io(read)?;
        if head.status != 200 {
            let text = String::from_utf8_lossy(&answer);
            return Err(self.garbled(format!("status code {}, {}", head.status, text.trim_end())));
        }
        String::from_utf8(answer).map_err(|_| self.garbled("the answer is not UTF-8".to_owned()))
    }

    /// Asks for a path; the answer's head, its body is [`Connection::chunk`]'s.
    pub(super) fn get(&mut self, path: &str) -> Result<Head, CallError> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n");
        let sent = self.stream.get_mut().write_all(request.as_bytes());
        self.io(sent)?;
        self.head()
    }

    /// The next chunk of a chunked body; `None` at its end.
    pub(super) fn chunk(&mut self) -> Result<Option<Vec<u8>>, CallError> {
        let line = self.line()?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16)
            .ok()
            .filter(|size| *size <= ANSWER_MAX)
            .ok_or_else(|| self.garbled(format!("bad chunk size {size:?}")))?;
        let mut chunk = vec![0; size];
        let read = self.stream.read_exact(&mut chunk);
        self.io(read)?;
        self.line()?;
        Ok((size > 0).then_some(chunk))
    }

    fn head(&mut self) -> Result<Head, CallError> {
        let first = self.line()?;
        let status = first
            .strip_prefix("HTTP/1.")
            .and_then(|rest| rest.split(' ').nth(1))
            .and_then(|status| status.parse().ok())
            .ok_or_else(|| self.garbled("the answer is not HTTP".to_owned()))?;
        let mut length = None;
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(':') else {
                return Ok(Head { status, length });
            };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().ok();
            }
        }
    }

    /// One line without its end. The end of the stream is an error: nothing here may end in the middle.
    fn line(&mut self) -> Result<String, CallError> {
        let mut line = Vec::new();
        let read = (&mut self.stream)
            .take(HEAD_MAX)
            .read_until(b'\n', &mut line);
        let read = read.and_then(|_| match line.last() {
            Some(b'\n') => Ok(String::from_utf8_lossy(&line).trim_end().to_owned()),
            _ => Err(ErrorKind::UnexpectedEof.into()),
        });
        self.io(read)
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.get_ref().as_fd()
    }
}

fn url(path: &Path) -> String {
    format!("unix://{}", path.display())
}
