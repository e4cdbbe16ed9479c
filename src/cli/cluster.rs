//! The flags that say which cluster and which application, for every command that needs one.

use clap::Args;

use super::{Exit, complain, environment};
use crate::engine::names::is_of_topic;
use crate::http::{Guard, Open};
use crate::kafka::Connection;
use crate::pipeline::fill_in;

#[derive(Args, Clone, Debug)]
pub struct ClusterArgs {
    /// Brokers to start from: HOST:PORT[,HOST:PORT...]
    #[arg(
        long,
        env = "STREAMGAUGE_BOOTSTRAP",
        default_value = "localhost:9092",
        value_name = "HOST:PORT"
    )]
    pub bootstrap: String,

    /// Any librdkafka setting, may be repeated; secrets as ${env:NAME} or ${file:PATH}
    #[arg(long = "kafka", value_name = "KEY=VALUE", value_parser = key_value)]
    pub kafka: Vec<(String, String)>,
}

#[derive(Args, Clone, Debug)]
pub struct ApplicationArgs {
    /// Name of the application: its consumer group, and the prefix of its other groups, topics and transactional ids
    #[arg(long, env = "STREAMGAUGE_APPLICATION_ID", default_value = "streamgauge", value_name = "NAME", value_parser = legal_name)]
    pub application_id: String,
}

#[derive(Args, Clone, Debug)]
pub struct TokenArgs {
    /// What who asks over HTTP has to know: ${env:NAME} or ${file:PATH}, so that it is in no command line
    #[arg(
        long = "http-token",
        env = "STREAMGAUGE_HTTP_TOKEN",
        hide_env_values = true,
        value_name = "SECRET"
    )]
    token: Option<String>,

    /// What needs no token all the same
    #[arg(
        long = "http-open",
        value_delimiter = ',',
        value_name = "PATH,...",
        requires = "token"
    )]
    open: Vec<Open>,
}

impl TokenArgs {
    pub fn guard(&self) -> Result<Guard, Exit> {
        Ok(Guard::new(token(self.token.as_deref())?, self.open.clone()))
    }
}

/// The token itself.
pub fn token(given: Option<&str>) -> Result<Option<String>, Exit> {
    let Some(given) = given else { return Ok(None) };
    if !(given.starts_with("${") && given.ends_with('}')) {
        complain(
            "--http-token (STREAMGAUGE_HTTP_TOKEN) takes ${env:NAME} or ${file:PATH}: what stands in a command line is seen by all",
        );
        return Err(Exit::Usage);
    }
    let refused = |why: &str| {
        complain(format!("--http-token {given}: {why}"));
        Exit::Usage
    };
    match fill_in(given, &environment) {
        Ok(token) if token.trim().is_empty() => Err(refused("it is empty")),
        Ok(token) => Ok(Some(token)),
        Err(why) => Err(refused(&why)),
    }
}

impl ClusterArgs {
    /// Where to connect to, with secrets in place.
    pub fn connection(&self) -> Result<Connection, Exit> {
        let mut properties = Vec::new();
        for (key, value) in &self.kafka {
            match fill_in(value, &environment) {
                Ok(value) => properties.push((key.clone(), value)),
                Err(problem) => {
                    complain(format!("--kafka {key}: {problem}"));
                    return Err(Exit::Usage);
                }
            }
        }
        let given = self.kafka.iter().map(|(_, value)| value.clone());
        let filled: Vec<(String, String)> = properties.iter().map(|(_, value)| value.clone()).zip(given).collect();
        Connection::new(self.bootstrap.clone(), properties).map_err(|error| {
            // A value that was filled in is called as the command line calls it, also where it stands at a wrong key.
            let secret = |(value, given): &&(String, String)| value != given && !value.is_empty();
            complain(
                filled
                    .iter()
                    .filter(secret)
                    .fold(error.to_string(), |said, (value, given)| said.replace(value, given)),
            );
            Exit::Usage
        })
    }
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.to_owned())),
        _ => Err("takes KEY=VALUE, for example --kafka security.protocol=SASL_SSL".to_owned()),
    }
}

/// Kafka's rule for topic names, since the name becomes part of some; room is left for their endings.
pub fn legal_name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > 200 || !text.chars().all(is_of_topic) {
        return Err("takes letters, digits, `.`, `_` and `-`, at most 200 of them".to_owned());
    }
    Ok(text.to_owned())
}
