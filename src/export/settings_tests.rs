use std::collections::BTreeMap;

use super::*;

fn settings(flag: Option<&str>, variables: &[(&str, &str)]) -> Result<Settings, SettingsError> {
    signal_settings(Signal::Metrics, flag, variables)
}

fn signal_settings(signal: Signal, flag: Option<&str>, variables: &[(&str, &str)]) -> Result<Settings, SettingsError> {
    let variables: BTreeMap<String, String> = variables
        .iter()
        .map(|(end, value)| (format!("OTEL_EXPORTER_OTLP_{end}"), value.to_string()))
        .collect();
    Settings::from_env(flag, signal, &|name| variables.get(name).cloned())
}

fn endpoint(flag: Option<&str>, variables: &[(&str, &str)]) -> String {
    settings(flag, variables).unwrap().endpoint.to_string()
}

fn error(variables: &[(&str, &str)]) -> String {
    settings(None, variables).unwrap_err().to_string()
}

#[test]
fn nothing_set_means_grpc_with_gzip_to_this_machine() {
    let settings = settings(None, &[("ENDPOINT", " "), ("PROTOCOL", "")]).unwrap();
    assert_eq!(settings.protocol, Protocol::Grpc);
    assert_eq!(settings.endpoint.as_str(), "http://127.0.0.1:4317/");
    assert_eq!(settings.endpoint_from, "default");
    assert_eq!(settings.timeout, Duration::from_secs(10));
    assert_eq!(settings.compression, Compression::Gzip);
    assert!(settings.authority.is_none() && settings.client.is_none());
    assert_eq!(settings.target(), "http://127.0.0.1:4317 (grpc, from default)");
}

#[test]
fn the_flag_wins_over_the_signal_and_the_signal_over_the_general_variable() {
    let both = [
        ("ENDPOINT", "http://general:1"),
        ("METRICS_ENDPOINT", "http://signal:2"),
    ];
    assert_eq!(endpoint(Some("http://flag:3"), &both), "http://flag:3/");
    assert_eq!(endpoint(None, &both), "http://signal:2/");
    assert_eq!(endpoint(None, &both[..1]), "http://general:1/");
    let traces = signal_settings(Signal::Traces, None, &both).unwrap();
    assert_eq!(traces.endpoint_from, "OTEL_EXPORTER_OTLP_ENDPOINT");
    let settings = settings(
        None,
        &[
            ("TIMEOUT", "1"),
            ("METRICS_TIMEOUT", "2"),
            ("COMPRESSION", "none"),
            ("METRICS_COMPRESSION", "gzip"),
        ],
    )
    .unwrap();
    assert_eq!(
        (settings.timeout, settings.compression),
        (Duration::from_millis(2), Compression::Gzip)
    );
}

#[test]
fn over_http_the_path_is_added_to_a_base_and_a_signals_own_endpoint_is_taken_verbatim() {
    let http = ("PROTOCOL", "http/protobuf");
    assert_eq!(endpoint(None, &[http]), "http://127.0.0.1:4318/v1/metrics");
    assert_eq!(endpoint(Some("http://h:1"), &[http]), "http://h:1/v1/metrics");
    assert_eq!(
        endpoint(None, &[http, ("ENDPOINT", "http://h:1/api/v1/otlp/")]),
        "http://h:1/api/v1/otlp/v1/metrics"
    );
    assert_eq!(
        endpoint(None, &[http, ("METRICS_ENDPOINT", "http://h:1")]),
        "http://h:1/"
    );
    assert_eq!(
        endpoint(None, &[http, ("METRICS_ENDPOINT", "https://h/push?key=a")]),
        "https://h/push?key=a"
    );
    let traces = signal_settings(Signal::Traces, Some("http://h:1"), &[http]).unwrap();
    assert_eq!(traces.endpoint.as_str(), "http://h:1/v1/traces");
    let doubled = error(&[http, ("ENDPOINT", "http://h:1/v1/metrics")]);
    assert!(
        doubled.starts_with("OTEL_EXPORTER_OTLP_ENDPOINT: is a base URL"),
        "{doubled}"
    );
}

#[test]
fn a_grpc_endpoint_without_a_scheme_is_secure_unless_told_otherwise() {
    assert_eq!(endpoint(Some("collector:4317"), &[]), "https://collector:4317/");
    assert_eq!(
        endpoint(Some("collector:4317"), &[("INSECURE", "true")]),
        "http://collector:4317/"
    );
    assert_eq!(
        endpoint(Some("https://collector:4317"), &[("INSECURE", "true")]),
        "https://collector:4317/"
    );
}

#[test]
fn an_error_names_the_variable_and_what_would_be_right() {
    for (variables, expected) in [
        (
            vec![("PROTOCOL", "http/json")],
            "OTEL_EXPORTER_OTLP_PROTOCOL: `http/json` is not spoken here; use `grpc`",
        ),
        (
            vec![("METRICS_PROTOCOL", "GRPC")],
            "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL: `GRPC`",
        ),
        (
            vec![("ENDPOINT", "http://h:1/v1/metrics")],
            "OTEL_EXPORTER_OTLP_ENDPOINT: gRPC has no path",
        ),
        (
            vec![("ENDPOINT", "ftp://h")],
            "OTEL_EXPORTER_OTLP_ENDPOINT: the scheme must be http or https",
        ),
        (
            vec![("ENDPOINT", "http://h:port")],
            "OTEL_EXPORTER_OTLP_ENDPOINT: invalid port number; it should be like",
        ),
        (
            vec![("ENDPOINT", "h:1"), ("PROTOCOL", "http/protobuf")],
            "OTEL_EXPORTER_OTLP_ENDPOINT: needs a scheme, as in http://collector:4318",
        ),
        (
            vec![("TIMEOUT", "10s")],
            "OTEL_EXPORTER_OTLP_TIMEOUT: `10s` is no number of milliseconds above 0",
        ),
        (vec![("TIMEOUT", "0")], "OTEL_EXPORTER_OTLP_TIMEOUT: `0`"),
        (
            vec![("COMPRESSION", "zstd")],
            "OTEL_EXPORTER_OTLP_COMPRESSION: `zstd` is unknown; use `gzip` or `none`",
        ),
        (
            vec![("ENDPOINT", "h:1"), ("INSECURE", "1")],
            "OTEL_EXPORTER_OTLP_INSECURE: must be `true` or `false`",
        ),
        (
            vec![("CERTIFICATE", "/nowhere/ca.pem")],
            "OTEL_EXPORTER_OTLP_CERTIFICATE: cannot read the file /nowhere",
        ),
        (
            vec![("CLIENT_KEY", "/k")],
            "OTEL_EXPORTER_OTLP_CLIENT_KEY: needs the certificate too",
        ),
        (
            vec![("CLIENT_CERTIFICATE", "/c")],
            "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE: needs the key too",
        ),
        (vec![("HEADERS", "a")], "OTEL_EXPORTER_OTLP_HEADERS: entry 1 has no `=`"),
    ] {
        let error = error(&variables);
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn a_file_that_is_no_certificate_is_known_at_the_start() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "hello").unwrap();
    let path = file.path().to_str().unwrap();
    assert!(error(&[("CERTIFICATE", path)]).ends_with("holds no certificates in PEM form (BEGIN CERTIFICATE)"));
    assert!(error(&[("CLIENT_CERTIFICATE", path), ("CLIENT_KEY", path)]).contains("holds no certificates"));
}

#[test]
fn secrets_are_never_printed() {
    let settings = settings(None, &[("HEADERS", "authorization=Bearer%20topsecret")]).unwrap();
    assert!(!format!("{settings:?}").contains("topsecret"));
    let http = [
        ("PROTOCOL", "http/protobuf"),
        ("METRICS_ENDPOINT", "https://h/push?key=topsecret"),
    ];
    let with_query = signal_settings(Signal::Metrics, None, &http).unwrap();
    assert!(!with_query.target().contains("topsecret") && !format!("{with_query:?}").contains("topsecret"));
    let in_url = error(&[("ENDPOINT", "https://user:topsecret@h")]);
    assert!(
        in_url.contains("OTEL_EXPORTER_OTLP_HEADERS") && !in_url.contains("topsecret"),
        "{in_url}"
    );
    assert!(
        !format!(
            "{:?}",
            ClientIdentity {
                certificate: vec![],
                key: b"topsecret".to_vec()
            }
        )
        .contains("116")
    );
}

#[test]
fn a_port_that_usually_speaks_the_other_protocol_is_pointed_out() {
    let target = settings(Some("http://collector:4318"), &[]).unwrap().target();
    assert!(target.contains("OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"), "{target}");
}
