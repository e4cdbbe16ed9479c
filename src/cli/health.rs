//! `streamgauge health`: asks a running instance, for container health checks.

use clap::Args;

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

    /// Only whether the process answers, not whether it is ready
    #[arg(long)]
    live: bool,
}

pub fn run(args: &HealthArgs) -> Exit {
    let path = if args.live { "livez" } else { "readyz" };
    let url = format!("http://{}/{path}", args.http);
    match ask(&url) {
        Ok((true, body)) => {
            println!("{}", body.trim());
            Exit::Done
        }
        Ok((false, body)) => {
            println!("{}", body.trim());
            Exit::Difference
        }
        Err(problem) => {
            complain(format!("nobody answers at {url} (--http): {problem}"));
            Exit::Difference
        }
    }
}

fn ask(url: &str) -> Result<(bool, String), String> {
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
        let response = client
            .get(url)
            .send()
            .await
            .map_err(|error| error.without_url().to_string())?;
        let healthy = response.status().is_success();
        let body = response.text().await.map_err(|error| error.without_url().to_string())?;
        Ok((healthy, body))
    })
}
