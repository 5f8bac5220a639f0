//! The local API from outside: blocking, for the command line and for other programs.

use std::{
    fmt,
    io::{self, BufRead as _, BufReader, Read, Write},
    net::SocketAddr,
    time::Duration,
};

use bayan_protocol::{
    id::{Hash, JobId, PeerId},
    source::JobView,
};
use serde::{Serialize, de::DeserializeOwned};
use ureq::{
    Agent, Body, BodyReader, SendBody,
    http::{Response, StatusCode},
};

use crate::api::types::{
    ApiError, BlobInfo, EvidenceView, JobRequest, PeerInfo, PlanRequest, PlanView, Removed,
    Results, StandingView, Submitted,
};

/// Time to connect on loopback.
const CONNECT: Duration = Duration::from_secs(5);
/// Longest silence of a stream of events: several times what the server promises.
const SILENCE: Duration = Duration::from_secs(60);
/// Bytes of a JSON answer: a million jobs' worth and more.
const MAX_ANSWER: u64 = 256 << 20;
/// Bytes of an upload above which the peer is asked first.
const EXPECT: u64 = 64 << 10;
/// Bytes of one line of a stream of events.
const MAX_LINE: u64 = 16 << 20;

/// Why a request came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The peer is gone or going: what was asked may or may not have happened.
    #[error("the peer at {api} is gone ({reason})")]
    Gone {
        /// Where it was.
        api: SocketAddr,
        /// How that showed.
        reason: String,
    },
    /// The peer answered, and says what is wrong.
    #[error("{text}")]
    Refused {
        /// The HTTP status code.
        status: u16,
        /// Its words.
        text: String,
    },
    /// The answer is not one of this API.
    #[error("what answers at {api} is not a peer of this version: {what}")]
    Foreign {
        /// Where.
        api: SocketAddr,
        /// What is wrong with the answer.
        what: String,
    },
    /// What was to be uploaded cannot be read, or what was downloaded not written.
    #[error(transparent)]
    Local(io::Error),
}

impl ClientError {
    /// Whether the peer is gone, so that another may take over.
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Gone { .. })
    }

    /// The HTTP status code, if the peer refused.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }
}

/// A client of one peer's API. Clones share connections.
#[derive(Clone)]
pub struct Client {
    agent: Agent,
    api: SocketAddr,
    authorization: String,
}

impl fmt::Debug for Client {
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("api", &self.api).finish_non_exhaustive()
    }
}

impl Client {
    /// A client of the API at `api`, showing `token`. Nothing is sent yet.
    pub fn new(api: SocketAddr, token: &str) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .timeout_connect(Some(CONNECT))
            .build();
        Self { agent: config.new_agent(), api, authorization: format!("Bearer {token}") }
    }

    /// Where the API is.
    pub fn api(&self) -> SocketAddr {
        self.api
    }

    /// Stores `content`.
    ///
    /// # Errors
    /// 507 if there is no room.
    pub fn upload(&self, content: &[u8]) -> Result<BlobInfo, ClientError> {
        self.upload_reader(content, content.len() as u64)
    }

    /// Stores `len` bytes of `content`, without holding them in memory.
    ///
    /// # Errors
    /// [`ClientError::Local`] if `content` fails or is shorter.
    pub fn upload_reader(&self, content: impl Read, len: u64) -> Result<BlobInfo, ClientError> {
        let mut content = Exactly { from: content, left: len, failed: None };
        let request = self
            .agent
            .post(self.url("blobs"))
            .header("authorization", &self.authorization)
            .header("content-type", "application/octet-stream")
            .header("content-length", len.to_string());
        // Nothing that will be refused is sent.
        let request = if len > EXPECT { request.header("expect", "100-continue") } else { request };
        let sent = request.send(SendBody::from_reader(&mut content));
        if let Some(error) = content.failed {
            return Err(ClientError::Local(error));
        }
        self.json(sent)
    }

    /// The bytes of a blob.
    ///
    /// # Errors
    /// 404 if it is not there.
    pub fn blob(&self, hash: &Hash) -> Result<Vec<u8>, ClientError> {
        let mut bytes = Vec::new();
        self.open_blob(hash)?.copy_to(&mut bytes)?;
        Ok(bytes)
    }

    /// A blob on its way, for those too long to hold in memory.
    ///
    /// # Errors
    /// 404 if it is not there.
    pub fn open_blob(&self, hash: &Hash) -> Result<Blob, ClientError> {
        let response = self.checked(self.get(&format!("blobs/{hash}")).call())?;
        let len = response.body().content_length().unwrap_or(0);
        let reader = response.into_body().into_with_config().limit(u64::MAX).reader();
        Ok(Blob { client: self.clone(), len, reader })
    }

    /// Runs a job whose blobs were uploaded.
    ///
    /// # Errors
    /// 422 if it is refused. On [`ClientError::Gone`] it may have been taken.
    pub fn submit(&self, job: &JobRequest) -> Result<JobId, ClientError> {
        let Submitted { job } = self.post("jobs", job)?;
        Ok(job)
    }

    /// Every job.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn jobs(&self) -> Result<Vec<JobView>, ClientError> {
        self.json(self.get("jobs").call())
    }

    /// One job.
    ///
    /// # Errors
    /// 404 if there is none.
    pub fn job(&self, job: JobId) -> Result<JobView, ClientError> {
        self.json(self.get(&format!("jobs/{job}")).call())
    }

    /// Ends a running job.
    ///
    /// # Errors
    /// 409 if it is over.
    pub fn cancel(&self, job: JobId) -> Result<Removed, ClientError> {
        self.delete(&format!("jobs/{job}?forget=false"))
    }

    /// Forgets a job that is over, with its results.
    ///
    /// # Errors
    /// 409 if it is running.
    pub fn forget(&self, job: JobId) -> Result<Removed, ClientError> {
        self.delete(&format!("jobs/{job}?forget=true"))
    }

    /// What is known of a job's tasks, in the order of the latest change of each, from place `after` on;
    /// at most `limit`.
    ///
    /// # Errors
    /// 404 if there is no such job.
    pub fn results(&self, job: JobId, after: u64, limit: usize) -> Result<Results, ClientError> {
        self.json(self.get(&format!("jobs/{job}/results?after={after}&limit={limit}")).call())
    }

    /// Follows a job: its standing now and after every change, until it is over.
    ///
    /// # Errors
    /// 404 if there is no such job.
    pub fn events(&self, job: JobId) -> Result<Events, ClientError> {
        let request = self
            .get(&format!("jobs/{job}/events"))
            .config()
            .timeout_per_read(Some(SILENCE))
            .build();
        let response = self.checked(request.call())?;
        let reader = response.into_body().into_with_config().limit(u64::MAX).reader();
        Ok(Events { client: self.clone(), lines: BufReader::new(reader), over: false })
    }

    /// What a job would cost and promise.
    ///
    /// # Errors
    /// 422 if no such job can be submitted.
    pub fn plan(&self, plan: &PlanRequest) -> Result<PlanView, ClientError> {
        self.post("plan", plan)
    }

    /// What is known first-hand of other peers.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn standings(&self) -> Result<Vec<StandingView>, ClientError> {
        self.json(self.get("standings").call())
    }

    /// Vouches for `peer`.
    ///
    /// # Errors
    /// 422 if it is the peer that is asked.
    pub fn trust(&self, peer: PeerId) -> Result<(), ClientError> {
        let path = self.url(&format!("trust/{peer}"));
        let request = self.agent.put(path).header("authorization", &self.authorization);
        self.checked(request.send_empty()).map(drop)
    }

    /// Vouches for `peer` no longer.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn distrust(&self, peer: PeerId) -> Result<(), ClientError> {
        let path = self.url(&format!("trust/{peer}"));
        let request = self.agent.delete(path).header("authorization", &self.authorization);
        self.checked(request.call()).map(drop)
    }

    /// The evidence that the peer keeps.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn evidence(&self) -> Result<Vec<EvidenceView>, ClientError> {
        self.json(self.get("evidence").call())
    }

    /// A file of evidence.
    ///
    /// # Errors
    /// 404 if it is not there.
    pub fn evidence_file(&self, id: &Hash) -> Result<Vec<u8>, ClientError> {
        let response = self.checked(self.get(&format!("evidence/{id}")).call())?;
        self.body(response)
    }

    /// The peer's standing.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn peer(&self) -> Result<PeerInfo, ClientError> {
        let request = self.get("peer").config().timeout_global(Some(SILENCE)).build();
        self.json(request.call())
    }

    /// Takes the machine back.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn pause(&self) -> Result<(), ClientError> {
        self.order("pause")
    }

    /// Lends it again.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn resume(&self) -> Result<(), ClientError> {
        self.order("resume")
    }

    /// Ends the peer.
    ///
    /// # Errors
    /// 409 if it is the one inside a `bayan run`.
    pub fn stop(&self) -> Result<(), ClientError> {
        self.order("stop")
    }

    /// The API's own description.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn openapi(&self) -> Result<serde_json::Value, ClientError> {
        self.json(self.get("openapi.json").call())
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/v1/{path}", self.api)
    }

    fn get(&self, path: &str) -> ureq::RequestBuilder<ureq::typestate::WithoutBody> {
        self.agent.get(self.url(path)).header("authorization", &self.authorization)
    }

    fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.json(
            self.agent.delete(self.url(path)).header("authorization", &self.authorization).call(),
        )
    }

    fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let request = self.agent.post(self.url(path)).header("authorization", &self.authorization);
        self.json(request.send_json(body))
    }

    fn order(&self, path: &str) -> Result<(), ClientError> {
        let request = self.agent.post(self.url(path)).header("authorization", &self.authorization);
        self.checked(request.send_empty()).map(drop)
    }

    fn json<T: DeserializeOwned>(
        &self,
        response: Result<Response<Body>, ureq::Error>,
    ) -> Result<T, ClientError> {
        let bytes = self.body(self.checked(response)?)?;
        serde_json::from_slice(&bytes).map_err(|error| self.foreign(error))
    }

    /// A response that is 2xx.
    fn checked(
        &self,
        response: Result<Response<Body>, ureq::Error>,
    ) -> Result<Response<Body>, ClientError> {
        let response = response.map_err(|error| self.gone(error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let bytes = self.body(response)?;
        let text = match serde_json::from_slice::<ApiError>(&bytes) {
            Ok(ApiError { error }) => error,
            Err(_) => return Err(self.foreign(status)),
        };
        if status == StatusCode::SERVICE_UNAVAILABLE {
            return Err(ClientError::Gone { api: self.api, reason: text });
        }
        Err(ClientError::Refused { status: status.as_u16(), text })
    }

    fn body(&self, mut response: Response<Body>) -> Result<Vec<u8>, ClientError> {
        let body = response.body_mut().with_config().limit(MAX_ANSWER);
        body.read_to_vec().map_err(|error| self.gone(error))
    }

    fn gone(&self, error: impl fmt::Display) -> ClientError {
        ClientError::Gone { api: self.api, reason: error.to_string() }
    }

    fn foreign(&self, what: impl fmt::Display) -> ClientError {
        ClientError::Foreign { api: self.api, what: what.to_string() }
    }
}

/// A source of exactly so many bytes, which tells its own failing from that of the connection.
struct Exactly<R> {
    from: R,
    left: u64,
    failed: Option<io::Error>,
}

impl<R: Read> Read for Exactly<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if most == 0 {
            return Ok(0);
        }
        let error = match self.from.read(&mut buffer[..most]) {
            Ok(0) => io::ErrorKind::UnexpectedEof.into(),
            Ok(count) => {
                self.left -= count as u64;
                return Ok(count);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            Err(error) => error,
        };
        let kind = error.kind();
        self.failed = Some(error);
        Err(kind.into())
    }
}

/// A blob on its way.
pub struct Blob {
    client: Client,
    len: u64,
    reader: BodyReader<'static>,
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blob").field("len", &self.len).finish_non_exhaustive()
    }
}

impl Blob {
    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// [`ClientError::Local`] if `to` fails.
    pub fn copy_to(mut self, to: &mut dyn Write) -> Result<u64, ClientError> {
        let mut buffer = vec![0; 64 << 10];
        let mut copied = 0;
        loop {
            let count = match self.reader.read(&mut buffer) {
                Ok(0) if copied < self.len => {
                    return Err(self.client.gone("the blob was cut short"));
                }
                Ok(0) => return Ok(copied),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.client.gone(error)),
            };
            to.write_all(&buffer[..count]).map_err(ClientError::Local)?;
            copied += count as u64;
        }
    }
}

/// The standings of a job. Ends after the final one; if it ends before, the last item is an error.
pub struct Events {
    client: Client,
    lines: BufReader<BodyReader<'static>>,
    over: bool,
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("client", &self.client).finish_non_exhaustive()
    }
}

impl Events {
    /// The data of the next event. The server writes each event's data on one line.
    fn data(&mut self) -> Result<String, ClientError> {
        loop {
            let mut line = String::new();
            match (&mut self.lines).take(MAX_LINE).read_line(&mut line) {
                Ok(0) => return Err(self.client.gone("the stream of events ended")),
                Ok(_) if line.len() as u64 >= MAX_LINE => {
                    return Err(self.client.foreign("an endless event"));
                }
                Ok(_) => {}
                Err(error) => return Err(self.client.gone(error)),
            }
            if let Some(data) = line.strip_prefix("data:") {
                return Ok(data.trim().to_owned());
            }
        }
    }
}

impl Iterator for Events {
    type Item = Result<JobView, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let view = self.data().and_then(|data| {
            serde_json::from_str::<JobView>(&data).map_err(|error| self.client.foreign(error))
        });
        self.over = match &view {
            Ok(view) => view.state != bayan_protocol::record::JobState::Running,
            Err(_) => true,
        };
        Some(view)
    }
}
