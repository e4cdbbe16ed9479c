//! `streamgauge health`: asks a running instance, for container health checks and for people.

use clap::Args;

use super::cluster::token;
use super::{Exit, complain};

#[derive(Args, Debug)]
pub struct HealthArgs {
    /// Where the instance listens
    #[arg(
        long,
        env = "STREAMGAUGE_HTTP",
        default_value = "127.0.0.1:8686",
        value_name = "HOST:PORT"
    )]
    http: String,

    /// The instance's token: ${env:NAME} or ${file:PATH}
    #[arg(
        long = "http-token",
        env = "STREAMGAUGE_HTTP_TOKEN",
        hide_env_values = true,
        value_name = "SECRET"
    )]
    token: Option<String>,

    #[command(flatten)]
    what: What,
}

/// What to ask for; without any of these, whether the instance is ready.
#[derive(Args, Debug)]
#[group(multiple = false)]
struct What {
    /// Only whether the process answers
    #[arg(long)]
    live: bool,

    /// How everything is: the cluster, the pipeline, the outbox, the exporter
    #[arg(long)]
    all: bool,

    /// How the cluster is, broker by broker
    #[arg(long)]
    kafka: bool,

    /// How a topic is, partition by partition
    #[arg(long, value_name = "NAME")]
    topic: Option<String>,
}

// === impl What ===

impl What {
    fn path(&self) -> String {
        match &self.topic {
            Some(topic) => {
                let name = percent_encoding::utf8_percent_encode(topic, percent_encoding::NON_ALPHANUMERIC);
                format!("health/topic/{name}")
            }
            None if self.live => "livez".to_owned(),
            None if self.all => "health".to_owned(),
            None if self.kafka => "health/kafka".to_owned(),
            None => "readyz".to_owned(),
        }
    }
}

pub fn run(args: &HealthArgs) -> Exit {
    let token = match token(args.token.as_deref()) {
        Ok(token) => token,
        Err(exit) => return exit,
    };
    let url = format!("http://{}/{}", args.http, args.what.path());
    match ask(&url, token.as_deref()) {
        Ok((healthy, body)) => {
            println!("{}", readable(&body).trim());
            if healthy { Exit::Done } else { Exit::Difference }
        }
        Err(problem) => {
            complain(format!("nobody answers at {url} (--http): {problem}"));
            Exit::Difference
        }
    }
}

/// JSON over several lines; anything else as it is.
fn readable(body: &str) -> String {
    let json = serde_json::from_str::<serde_json::Value>(body);
    let pretty = json.and_then(|json| serde_json::to_string_pretty(&json));
    pretty.unwrap_or_else(|_| body.to_owned())
}

fn ask(url: &str, token: Option<&str>) -> Result<(bool, String), String> {
    crate::export::install_crypto();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let client = reqwest::Client::builder()
            .timeout(std::time::Duration::from_secs(3))
            .no_proxy()
            .build()
            .map_err(|error| error.to_string())?;
        let mut request = client.get(url);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.map_err(|error| error.without_url().to_string())?;
        let healthy = response.status().is_success();
        let body = response.text().await.map_err(|error| error.without_url().to_string())?;
        Ok((healthy, body))
    })
}
