//! What the sender puts on the wire, and what it makes of the answers: against real servers on loopback.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, StatusCode, Uri};
use bytes::{Buf, BufMut, Bytes};
use prost::Message;
use streamgauge::export::receiver::Receiver;
use streamgauge::export::sender::Sender;
use streamgauge::export::settings::{Settings, Signal};
use streamgauge::export::verdict::{
    ExportResponse, LONGEST_PAUSE, PartialSuccess, RetryDelay, RetryInfo, RpcDetail, RpcStatus, SETTINGS_PAUSE, Verdict,
};
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::{Service, http};
use tonic::server::{NamedService, UnaryService};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Server, ServerTlsConfig};
use tonic::{Code, Request, Response, Status};

// --- the other end ---

/// What a server was sent: headers, and the body as it was (gRPC: the message, unpacked).
#[derive(Clone, Debug)]
struct Got {
    headers: BTreeMap<String, String>,
    path: String,
    body: Bytes,
}

type Gots = Arc<Mutex<Vec<Got>>>;

type GrpcAnswer = Arc<dyn Fn(usize) -> Result<Bytes, Status> + Send + Sync>;

type Answering<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

#[derive(Clone, Copy, Default)]
struct Verbatim;

impl Codec for Verbatim {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;
    fn encoder(&mut self) -> Self {
        *self
    }
    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Verbatim {
    type Item = Bytes;
    type Error = Status;
    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Verbatim {
    type Item = Bytes;
    type Error = Status;
    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

/// A gRPC server that looks at bytes, not at types.
#[derive(Clone)]
struct RawGrpc {
    got: Gots,
    answer: GrpcAnswer,
}

impl NamedService for RawGrpc {
    const NAME: &'static str = "opentelemetry.proto.collector.metrics.v1.MetricsService";
}

impl Service<http::Request<tonic::body::Body>> for RawGrpc {
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = Answering<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        let call = Call {
            headers: texts(request.headers()),
            path: request.uri().path().to_owned(),
            got: Arc::clone(&self.got),
            answer: Arc::clone(&self.answer),
        };
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(Verbatim).accept_compressed(CompressionEncoding::Gzip);
            Ok(grpc.unary(call, request).await)
        })
    }
}

struct Call {
    headers: BTreeMap<String, String>,
    path: String,
    got: Gots,
    answer: GrpcAnswer,
}

impl UnaryService<Bytes> for Call {
    type Response = Bytes;
    type Future = Answering<Response<Bytes>, Status>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let mut got = self.got.lock().unwrap();
        got.push(Got {
            headers: self.headers.clone(),
            path: self.path.clone(),
            body: request.into_inner(),
        });
        let answer = (self.answer)(got.len() - 1);
        Box::pin(async move { answer.map(Response::new) })
    }
}

fn texts(headers: &HeaderMap) -> BTreeMap<String, String> {
    headers
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap_or("?").to_owned()))
        .collect()
}

async fn grpc_server(
    tls: Option<ServerTlsConfig>,
    answer: impl Fn(usize) -> Result<Bytes, Status> + Send + Sync + 'static,
) -> (SocketAddr, Gots) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let got = Gots::default();
    let service = RawGrpc {
        got: Arc::clone(&got),
        answer: Arc::new(answer),
    };
    let mut server = Server::builder();
    if let Some(tls) = tls {
        server = server.tls_config(tls).unwrap();
    }
    tokio::spawn(
        server
            .add_service(service)
            .serve_with_incoming(TcpIncoming::from(listener)),
    );
    (at, got)
}

type HttpAnswer = (StatusCode, Vec<(&'static str, String)>, Vec<u8>);

async fn http_server(answer: impl Fn(usize) -> HttpAnswer + Clone + Send + Sync + 'static) -> (SocketAddr, Gots) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let got = Gots::default();
    let seen = Arc::clone(&got);
    let router = axum::Router::new().fallback(move |uri: Uri, headers: HeaderMap, body: Bytes| {
        let mut seen = seen.lock().unwrap();
        seen.push(Got {
            headers: texts(&headers),
            path: uri.to_string(),
            body,
        });
        let (status, headers, body) = answer(seen.len() - 1);
        let mut response = http::Response::new(axum::body::Body::from(body));
        *response.status_mut() = status;
        for (name, value) in headers {
            response.headers_mut().insert(name, value.parse().unwrap());
        }
        async move { response }
    });
    tokio::spawn(async move { axum::serve(listener, router).await });
    (at, got)
}

// --- this end ---

fn sender(flag: &str, variables: &[(&str, &str)]) -> Sender {
    sender_of(Signal::Metrics, flag, variables)
}

fn sender_of(signal: Signal, flag: &str, variables: &[(&str, &str)]) -> Sender {
    let variables: BTreeMap<String, String> = variables
        .iter()
        .map(|(end, value)| (format!("OTEL_EXPORTER_OTLP_{end}"), value.to_string()))
        .collect();
    let settings = Settings::from_env(Some(flag), signal, &|name| variables.get(name).cloned()).unwrap();
    Sender::connect(settings).unwrap()
}

/// Not even a metrics request: nobody on the way may read it.
fn request() -> Bytes {
    Bytes::from(b"\x9a\x06\x05hello".repeat(500))
}

fn taken() -> Result<Bytes, Status> {
    Ok(Bytes::from(ExportResponse::default().encode_to_vec()))
}

fn partly(rejected: i64, message: &str) -> Vec<u8> {
    let partial_success = Some(PartialSuccess {
        rejected,
        message: message.into(),
    });
    ExportResponse { partial_success }.encode_to_vec()
}

fn retry(after: Option<Duration>, message: &str) -> Verdict {
    Verdict::Retry {
        after,
        message: message.into(),
    }
}

fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    flate2::read::GzDecoder::new(bytes).read_to_end(&mut text).unwrap();
    text
}

// --- gRPC ---

#[tokio::test]
async fn over_grpc_the_message_is_the_request_byte_for_byte_each_time_it_is_sent() {
    let (at, got) = grpc_server(None, |_| taken()).await;
    let sender = sender(&format!("http://{at}"), &[("HEADERS", "x-scope-orgid=team%201")]);
    assert_eq!(sender.send(request()).await, Verdict::Accepted);
    assert_eq!(sender.send(request()).await, Verdict::Accepted);
    let got = got.lock().unwrap();
    assert_eq!([&got[0].body, &got[1].body], [&request(), &request()]);
    assert_eq!(
        got[0].path,
        "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"
    );
    assert_eq!(got[0].headers["x-scope-orgid"], "team 1");
    assert_eq!(got[0].headers["grpc-encoding"], "gzip");
    assert!(got[0].headers["user-agent"].starts_with("streamgauge/"));
}

#[tokio::test]
async fn over_grpc_compression_can_be_switched_off() {
    let (at, got) = grpc_server(None, |_| taken()).await;
    let sender = sender(&format!("http://{at}"), &[("COMPRESSION", "none")]);
    assert_eq!(sender.send(request()).await, Verdict::Accepted);
    assert!(!got.lock().unwrap()[0].headers.contains_key("grpc-encoding"));
}

#[tokio::test]
async fn a_grpc_answer_becomes_its_verdict() {
    let detail = RpcDetail {
        type_url: "type.googleapis.com/google.rpc.RetryInfo".into(),
        value: RetryInfo {
            delay: Some(RetryDelay { seconds: 3, nanos: 0 }),
        }
        .encode_to_vec(),
    };
    let details = RpcStatus {
        code: 8,
        message: "busy".into(),
        details: vec![detail],
    }
    .encode_to_vec();
    let (at, _) = grpc_server(None, move |nth| match nth {
        0 => Ok(partly(7, "too many labels").into()),
        1 => Err(Status::unavailable("starting")),
        2 => Err(Status::with_details(
            Code::ResourceExhausted,
            "busy",
            details.clone().into(),
        )),
        3 => Err(Status::resource_exhausted(
            "grpc: received message larger than max (5 vs. 4)",
        )),
        4 => Err(Status::invalid_argument("out of order sample")),
        5 => Err(Status::invalid_argument("x".repeat(2_000))),
        6 => Err(Status::unauthenticated("token topsecret is not known")),
        _ => Ok(Bytes::from_static(&[0xff, 0xff])),
    })
    .await;
    let sender = sender(
        &format!("http://{at}"),
        &[("HEADERS", "authorization=Bearer%20topsecret")],
    );
    let expected = [
        Verdict::PartialSuccess {
            rejected: 7,
            message: "too many labels".into(),
        },
        retry(None, "Unavailable: starting"),
        retry(Some(Duration::from_secs(3)), "ResourceExhausted: busy"),
        Verdict::TooLarge {
            message: "ResourceExhausted: grpc: received message larger than max (5 vs. 4)".into(),
        },
        Verdict::AlreadyThere {
            message: "InvalidArgument: out of order sample".into(),
        },
    ];
    for expected in expected {
        assert_eq!(sender.send(request()).await, expected);
    }
    let refused = sender.send(request()).await;
    assert!(
        matches!(&refused, Verdict::Refused { message } if message.chars().count() == 300),
        "{refused:?}"
    );
    let expected = retry(Some(SETTINGS_PAUSE), "Unauthenticated: token [redacted] is not known");
    assert_eq!(sender.send(request()).await, expected);
    assert_eq!(
        sender.send(request()).await,
        Verdict::Accepted,
        "an OK that cannot be read is an OK"
    );
}

#[tokio::test]
async fn a_receiver_that_caps_messages_says_too_large() {
    let (receiver, endpoint) = Receiver::start().unwrap();
    let sender = sender(&endpoint, &[("COMPRESSION", "none")]);
    let verdict = sender.send(Bytes::from(vec![0; 5 * 1024 * 1024])).await;
    assert!(matches!(verdict, Verdict::TooLarge { .. }), "{verdict:?}");
    drop(receiver);
}

#[tokio::test]
async fn nobody_there_is_a_retry_that_says_why_and_a_late_collector_is_found() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    drop(listener);
    let sender = sender(&format!("http://{at}"), &[]);
    let verdict = sender.send(request()).await;
    assert!(
        matches!(&verdict, Verdict::Retry { after: None, message } if message.contains("onnection refused")),
        "{verdict:?}"
    );
    let listener = tokio::net::TcpListener::bind(at).await.unwrap();
    let service = RawGrpc {
        got: Gots::default(),
        answer: Arc::new(|_| taken()),
    };
    tokio::spawn(
        Server::builder()
            .add_service(service)
            .serve_with_incoming(TcpIncoming::from(listener)),
    );
    assert_eq!(sender.send(request()).await, Verdict::Accepted);
}

#[tokio::test]
async fn a_collector_that_does_not_answer_is_a_retry_after_the_timeout() {
    // Takes connections and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = silent.local_addr().unwrap();
    for protocol in ["grpc", "http/protobuf"] {
        let sender = sender(&format!("http://{at}"), &[("TIMEOUT", "300"), ("PROTOCOL", protocol)]);
        let start = Instant::now();
        let verdict = sender.send(request()).await;
        assert_eq!(verdict, retry(None, "no answer within 300 ms"), "{protocol}");
        assert!(start.elapsed() < Duration::from_secs(3));
    }
}

// --- HTTP ---

#[tokio::test]
async fn over_http_the_gzipped_body_is_the_request_byte_for_byte_each_time_it_is_sent() {
    let (at, got) = http_server(|_| (StatusCode::OK, vec![], vec![])).await;
    let variables = [("PROTOCOL", "http/protobuf"), ("HEADERS", "x-scope-orgid=team")];
    let sender = sender(&format!("http://{at}/otlp"), &variables);
    assert_eq!(sender.send(request()).await, Verdict::Accepted);
    assert_eq!(sender.send(request()).await, Verdict::Accepted);
    let got = got.lock().unwrap();
    assert_eq!(got[0].path, "/otlp/v1/metrics");
    assert_eq!(got[0].headers["content-type"], "application/x-protobuf");
    assert_eq!(got[0].headers["content-encoding"], "gzip");
    assert_eq!(got[0].headers["x-scope-orgid"], "team");
    assert_eq!(gunzip(&got[0].body), request());
    assert_eq!(got[0].body, got[1].body);
}

#[tokio::test]
async fn over_http_spans_go_to_their_own_path_byte_for_byte() {
    let (at, got) = http_server(|nth| match nth {
        0 => (StatusCode::OK, vec![], vec![]),
        _ => {
            let headers = vec![("content-type", "application/x-protobuf".to_owned())];
            (StatusCode::OK, headers, partly(3, "no such tenant"))
        }
    })
    .await;
    let variables = [("TRACES_PROTOCOL", "http/protobuf"), ("PROTOCOL", "grpc")];
    let sender = sender_of(Signal::Traces, &format!("http://{at}"), &variables);
    assert_eq!(sender.send(request()).await, Verdict::Accepted);
    let verdict = Verdict::PartialSuccess {
        rejected: 3,
        message: "no such tenant".into(),
    };
    assert_eq!(sender.send(request()).await, verdict);
    let got = got.lock().unwrap();
    assert_eq!(got[0].path, "/v1/traces");
    assert_eq!(gunzip(&got[0].body), request());
}

#[tokio::test]
async fn over_http_compression_can_be_switched_off() {
    let (at, got) = http_server(|_| (StatusCode::NO_CONTENT, vec![], vec![])).await;
    let sender = sender(
        &format!("http://{at}"),
        &[("PROTOCOL", "http/protobuf"), ("COMPRESSION", "none")],
    );
    assert_eq!(sender.send(request()).await, Verdict::Accepted);
    let got = got.lock().unwrap();
    assert_eq!(got[0].body, request());
    assert!(!got[0].headers.contains_key("content-encoding"));
}

#[tokio::test]
async fn an_http_answer_becomes_its_verdict() {
    fn answer(nth: usize) -> HttpAnswer {
        let protobuf = || vec![("content-type", "application/x-protobuf".to_owned())];
        let retry_after = |value: &str| vec![("retry-after", value.to_owned())];
        match nth {
            0 => (StatusCode::OK, protobuf(), partly(2, "bad")),
            1 => (
                StatusCode::OK,
                vec![("content-type", "text/plain".into())],
                b"fine".to_vec(),
            ),
            2 => (StatusCode::TOO_MANY_REQUESTS, retry_after("4"), b"slow down".to_vec()),
            3 => (
                StatusCode::SERVICE_UNAVAILABLE,
                retry_after("Tue, 31 Dec 2999 23:59:59 GMT"),
                b"later".to_vec(),
            ),
            4 => (StatusCode::BAD_GATEWAY, vec![], b"no upstream".to_vec()),
            5 => (StatusCode::PAYLOAD_TOO_LARGE, vec![], b"limit".to_vec()),
            6 => {
                let status = RpcStatus {
                    code: 3,
                    message: "duplicate sample for timestamp".into(),
                    details: vec![],
                };
                (StatusCode::BAD_REQUEST, protobuf(), status.encode_to_vec())
            }
            7 => (StatusCode::BAD_REQUEST, vec![], b"out of bounds".to_vec()),
            8 => (
                StatusCode::INTERNAL_SERVER_ERROR,
                vec![],
                b"invalid temporality".to_vec(),
            ),
            9 => (StatusCode::FORBIDDEN, vec![], b"topsecret may not write".to_vec()),
            _ => (
                StatusCode::FOUND,
                vec![("location", "/elsewhere".into())],
                b"moved".to_vec(),
            ),
        }
    }
    let (at, got) = http_server(answer).await;
    let variables = [("PROTOCOL", "http/protobuf"), ("HEADERS", "authorization=topsecret")];
    let sender = sender(&format!("http://{at}"), &variables);
    let expected = [
        Verdict::PartialSuccess {
            rejected: 2,
            message: "bad".into(),
        },
        Verdict::Accepted,
        retry(Some(Duration::from_secs(4)), "HTTP 429: slow down"),
        retry(Some(LONGEST_PAUSE), "HTTP 503: later"),
        retry(None, "HTTP 502: no upstream"),
        Verdict::TooLarge {
            message: "HTTP 413: limit".into(),
        },
        Verdict::AlreadyThere {
            message: "HTTP 400: duplicate sample for timestamp".into(),
        },
        Verdict::Expired {
            message: "HTTP 400: out of bounds".into(),
        },
        Verdict::Refused {
            message: "HTTP 500: invalid temporality".into(),
        },
        retry(Some(SETTINGS_PAUSE), "HTTP 403: [redacted] may not write"),
        retry(Some(SETTINGS_PAUSE), "HTTP 302: moved"),
    ];
    let answers = expected.len();
    for expected in expected {
        assert_eq!(sender.send(request()).await, expected);
    }
    assert_eq!(got.lock().unwrap().len(), answers, "a redirect is not followed");
}

// --- TLS ---

/// A certificate authority, and what it signed.
struct Authority {
    dir: tempfile::TempDir,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Authority {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec![]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Authority {
            dir: tempfile::tempdir().unwrap(),
            issuer: rcgen::Issuer::new(params, key),
            pem,
        }
    }

    /// A certificate for this name and its key.
    fn sign(&self, name: &str) -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    fn file(&self, name: &str, pem: &str) -> String {
        let path = self.dir.path().join(name);
        std::fs::write(&path, pem).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Files of the authority, a client's certificate and its key.
    fn client_files(&self) -> [String; 3] {
        let (certificate, key) = self.sign("client");
        [
            self.file("ca.pem", &self.pem),
            self.file("client.pem", &certificate),
            self.file("client.key", &key),
        ]
    }
}

#[tokio::test]
async fn over_grpc_both_ends_can_be_asked_for_certificates() {
    let authority = Authority::new();
    let (certificate, key) = authority.sign("127.0.0.1");
    let tls = ServerTlsConfig::new()
        .identity(tonic::transport::Identity::from_pem(certificate, key))
        .client_ca_root(tonic::transport::Certificate::from_pem(&authority.pem));
    let (at, _) = grpc_server(Some(tls), |_| taken()).await;
    let files = authority.client_files();
    let all = [
        ("CERTIFICATE", &*files[0]),
        ("CLIENT_CERTIFICATE", &*files[1]),
        ("CLIENT_KEY", &*files[2]),
    ];
    assert_eq!(
        sender(&format!("https://{at}"), &all).send(request()).await,
        Verdict::Accepted
    );
    let without_client = sender(&format!("https://{at}"), &all[..1]).send(request()).await;
    assert!(matches!(without_client, Verdict::Retry { .. }), "{without_client:?}");
    let without_authority = sender(&format!("https://{at}"), &all[1..]).send(request()).await;
    assert!(
        matches!(without_authority, Verdict::Retry { .. }),
        "{without_authority:?}"
    );
}

#[tokio::test]
async fn over_http_both_ends_can_be_asked_for_certificates() {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};

    let authority = Authority::new();
    let (certificate, key) = authority.sign("127.0.0.1");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap())
        .unwrap();
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
        )
        .unwrap();
    let config = Arc::new(config);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = rustls::StreamOwned::new(connection, stream);
            // The body is 21 bytes of gzip at least; the server need not read it to answer, but must not reset it.
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
                head.push(byte[0]);
            }
            let _ = stream.read(&mut [0; 1_024]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
    });
    let files = authority.client_files();
    let all = [
        ("PROTOCOL", "http/protobuf"),
        ("CERTIFICATE", &*files[0]),
        ("CLIENT_CERTIFICATE", &*files[1]),
        ("CLIENT_KEY", &*files[2]),
    ];
    assert_eq!(
        sender(&format!("https://{at}"), &all).send(Bytes::from("x")).await,
        Verdict::Accepted
    );
    let without_client = sender(&format!("https://{at}"), &all[..2]).send(Bytes::from("x")).await;
    assert!(matches!(without_client, Verdict::Retry { .. }), "{without_client:?}");
}
