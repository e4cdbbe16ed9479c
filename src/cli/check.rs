//! `streamgauge check`: reads pipelines as `run` does, and says what they amount to or what is wrong with them.
//!
//! Rule: the report is rendered from the plan that would run, so it cannot promise anything else. It goes to stdout, faults
//! go to stderr.
//!
//! Edges:
//! - exit code 2 for faulty pipelines, 5 when the brokers could not be asked or refuse a right that `run` needs, else 0;
//! - without brokers partitions are not known and not guessed at;
//! - values from `${env:..}` and `${file:..}` are called as the file calls them.

mod alerts;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;

use super::cluster::{ApplicationArgs, ClusterArgs};
use super::{Exit, application, complain, lag_source, rights};
use crate::engine::lag::status::Rules;
use crate::engine::lag::{OFFSETS_TOPIC, metric_names};
use crate::engine::plan::ValueFrom;
use crate::engine::plan::{
    Kind, LabelFrom, Lag, LagFrom, Metric, MetricIx, Operator, Plan, Recipe, Respond, SourcePlan, TimeFormat, TimeFrom,
    TopicPlan,
};
use crate::engine::tap::expr::Expr;
use crate::engine::task::PartitionCounts;
use crate::kafka::{self, ConnectError, Connection};
use crate::pipeline::{Checked, Expense, Look, check_files, spell_duration, spell_size, spell_start};

/// The command's flags.
#[derive(clap::Args, Debug)]
pub struct CheckArgs {
    /// Pipeline files
    #[arg(required = true, value_name = "PIPELINE")]
    files: Vec<PathBuf>,
    /// Also ask the brokers which topics and partitions there are, and whether the login has the rights that `run` needs
    #[arg(long)]
    connect: bool,
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    application: ApplicationArgs,
    /// Partitions of the internal topics
    #[arg(long, default_value_t = 6, value_name = "N")]
    shuffle_partitions: u32,
}

/// `streamgauge check`.
pub fn command(args: &CheckArgs) -> Exit {
    let request = Request {
        files: args.files.clone(),
        application_id: args.application.application_id.clone(),
        shuffle_partitions: args.shuffle_partitions,
    };
    if !args.connect {
        return run(&request, &super::environment, None);
    }
    let connection = match args.cluster.connection() {
        Ok(connection) => connection,
        Err(exit) => return exit,
    };
    let mut ask = |plan: &mut Plan| ask_brokers(&connection, &request.application_id, plan);
    run(&request, &super::environment, Some(&mut ask))
}

/// Partition counts, once the login is known to have every right that `run` needs.
///
/// Where the pipeline leaves it open what lag is read from, the plan says it then.
fn ask_brokers(connection: &Connection, application_id: &str, plan: &mut Plan) -> Result<PartitionCounts, Unasked> {
    if let Some(lag) = plan.lag.as_mut().filter(|lag| lag.from == LagFrom::Auto)
        && let Some(why) = lag_source::polled_because(connection, application_id, true)?
    {
        complain(format!("groups will be polled by the Admin API: {why}"));
        lag.from = LagFrom::Admin;
    }
    let topics: Vec<String> = plan.topics.iter().map(|topic| topic.topic.clone()).collect();
    let (_, found) = kafka::describe(connection, &topics)?;
    let missing = rights::missing(connection, application_id, plan, &found)?;
    if !missing.is_empty() {
        return Err(Unasked {
            exit: Exit::Unreachable,
            why: missing,
        });
    }
    Ok(found
        .into_iter()
        .filter_map(|topic| Some((topic.name, topic.partitions?)))
        .collect())
}

/// What to check, and for whom.
#[derive(Clone, Debug)]
pub struct Request {
    pub files: Vec<PathBuf>,
    pub application_id: String,
    /// Partitions of the repartition topics.
    pub shuffle_partitions: u32,
}

/// Asks the brokers for the partition counts of the input topics.
pub type Ask<'a> = &'a mut dyn FnMut(&mut Plan) -> Result<PartitionCounts, Unasked>;

/// Why the brokers gave no answer, a reason a line, and how the process ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unasked {
    pub exit: Exit,
    pub why: Vec<String>,
}

impl From<ConnectError> for Unasked {
    fn from(error: ConnectError) -> Self {
        let exit = match &error {
            ConnectError::Settings(_) => Exit::Usage,
            ConnectError::Unreachable(_) | ConnectError::Login(_) => Exit::Unreachable,
        };
        Self {
            exit,
            why: vec![error.to_string()],
        }
    }
}

/// Checks, prints and tells how the process ends.
pub fn run(request: &Request, env: &dyn Fn(&str) -> Option<String>, ask: Option<Ask<'_>>) -> Exit {
    let mut checked = match check_files(&request.files, env) {
        Ok(checked) => checked,
        Err(diagnostics) => {
            eprint!("{}", diagnostics.render(Look::of(&std::io::stderr())));
            return Exit::Usage;
        }
    };
    if let Some(own) = application::own_input(&checked.plan, &request.application_id) {
        let refused = application::own_input_refused(own, &request.application_id);
        complain(checked.hidden.mask(&refused));
        return Exit::Usage;
    }
    let counts = match ask.map(|ask| ask(&mut checked.plan)).transpose() {
        Ok(counts) => counts,
        Err(unasked) => {
            unasked.why.iter().for_each(complain);
            return unasked.exit;
        }
    };
    // A reader that went away is no failure of ours.
    let _ = std::io::stdout()
        .lock()
        .write_all(report(&checked, request, counts.as_ref()).as_bytes());
    Exit::Done
}

/// What the pipelines amount to, as text. `counts` are the partitions of the input topics, where the brokers were asked.
pub fn report(checked: &Checked, request: &Request, counts: Option<&PartitionCounts>) -> String {
    let mut report = Report {
        checked,
        request,
        counts,
        out: String::new(),
    };
    report.pipelines();
    report.stages();
    report.input_topics();
    report.internal_topics();
    for pipeline in 0..checked.plan.pipelines.len() {
        report.metrics(pipeline);
        report.traces(pipeline);
    }
    report.alerts();
    report.notes();
    report.out
}

struct Report<'a> {
    checked: &'a Checked,
    request: &'a Request,
    counts: Option<&'a PartitionCounts>,
    out: String,
}

// === impl Report ===

impl Report<'_> {
    fn plan(&self) -> &Plan {
        &self.checked.plan
    }

    fn mask(&self, text: &str) -> String {
        self.checked.hidden.mask(text)
    }

    fn line(&mut self, indent: usize, name: &str, text: &str) {
        // Writing into a string cannot fail.
        let _ = writeln!(self.out, "{:indent$}{name:<9} {text}", "");
    }

    fn pipelines(&mut self) {
        let topics = self.plan().topics.len();
        // What is counted about the pipelines themselves is in no file.
        let of_files = |metric: &&Metric| !metric.name.starts_with("streamgauge_");
        let metrics = self.plan().metrics.iter().filter(of_files).count();
        let names: Vec<String> = self.plan().pipelines.iter().map(|name| self.mask(name)).collect();
        let head = format!(
            "{}: {} from {}\n",
            names.join(", "),
            counted(metrics, "metric"),
            counted(topics, "topic")
        );
        let head = match self.plan().lag {
            Some(_) if topics == 0 => format!("{}: lag of consumer groups\n", names.join(", ")),
            Some(_) => format!("{}, and lag of consumer groups\n", head.trim_end()),
            None => head,
        };
        self.out.push_str(&head);
    }

    fn stages(&mut self) {
        let application = self.request.application_id.clone();
        let shuffle = self.request.shuffle_partitions;
        let taps = match self.counts {
            Some(counts) => {
                let tasks: u32 = counts.values().sum();
                format!(
                    "{} (one a partition of the input topics)",
                    counted(tasks as usize, "task")
                )
            }
            None => "one task a partition of the input topics".to_owned(),
        };
        let gauges = format!(
            "{} (one a partition of {application}-gauge-repartition)",
            counted(shuffle as usize, "task")
        );
        let correlates = format!(
            "{} (one a partition of {application}-correlate-repartition), group {application}-correlate",
            counted(shuffle as usize, "task")
        );
        let mut exports = format!("one loop a partition of {application}-otlp-metrics");
        if self.plan().traces() {
            exports.push_str(&format!(" and of {application}-otlp-traces"));
        }
        if self.plan().notifies() {
            exports.push_str(&format!(", and of {application}-notifications"));
        }
        let alerts = format!(
            "{} (one a partition of {application}-alert-repartition), group {application}-alert",
            counted(shuffle as usize, "task")
        );
        self.out.push_str("\nstages\n");
        let has_topics = self.plan().taps();
        if has_topics {
            self.line(2, "tap", &format!("{taps}, group {application}"));
        }
        if self.plan().correlates() {
            self.line(2, "correlate", &correlates);
        }
        if self.plan().lag.is_some() {
            let input = application::lag_input(&application, self.plan());
            let lag = format!("one task a partition of {input}, group {application}-lag");
            self.line(2, "lag", &lag);
        }
        if has_topics {
            self.line(2, "gauge", &format!("{gauges}, group {application}-gauge"));
        }
        if !self.plan().alerts.is_empty() {
            self.line(2, "alert", &alerts);
        }
        self.line(2, "export", &exports);
    }

    fn input_topics(&mut self) {
        if !self.plan().taps() {
            return;
        }
        self.out.push_str("\ninput topics\n");
        for topic in &self.checked.plan.topics {
            let partitions = match self.counts.map(|counts| counts.get(&topic.topic)) {
                None => String::new(),
                Some(None) => "  does not exist".to_owned(),
                Some(Some(partitions)) => {
                    let partitions = *partitions as usize;
                    format!(
                        "  {}, {}",
                        counted(partitions, "partition"),
                        counted(partitions, "task")
                    )
                }
            };
            let name = self.mask(&topic.topic);
            let _ = writeln!(self.out, "  {name}{partitions}");
            let reads = format!(
                "{} a record, values up to {}",
                counted(topic.projection.slots(), "field"),
                self.mask(&spell_size(topic.max_record_bytes))
            );
            self.line(4, "time", &self.time(topic));
            self.line(4, "starts at", &self.mask(&spell_start(topic.start)));
            self.line(4, "reads", &reads);
            for (at, source) in topic.sources.iter().enumerate() {
                let plan = &self.checked.plan;
                let metrics = source
                    .recipes
                    .iter()
                    .map(|recipe| plan.metrics[recipe.metric.0].name.as_str());
                let joins = source.emits.iter().map(|emit| plan.joins[emit.join.0].name.as_str());
                let mut fed: Vec<&str> = metrics.chain(joins).collect();
                fed.dedup();
                self.line(
                    4,
                    if at == 0 { "feeds" } else { "" },
                    &format!("{}: {}", source.name, fed.join(", ")),
                );
            }
        }
    }

    fn time(&self, topic: &TopicPlan) -> String {
        let from = match &topic.timing.from {
            TimeFrom::Record => "the record's timestamp".to_owned(),
            TimeFrom::Field { pointer, format, .. } => format!(
                "{}{}",
                self.mask(pointer),
                match format {
                    TimeFormat::Auto => "",
                    TimeFormat::Seconds => " in seconds",
                    TimeFormat::Millis => " in milliseconds",
                    TimeFormat::Micros => " in microseconds",
                    TimeFormat::Nanos => " in nanoseconds",
                }
            ),
        };
        let timing = &topic.timing;
        let settings = format!(
            "out of order by {}, idle after {}, held for {}, ahead by {}",
            spell_duration(timing.out_of_order),
            spell_duration(timing.idle_after),
            spell_duration(timing.max_hold),
            spell_duration(timing.max_ahead)
        );
        format!("{from}; {}", self.mask(&settings))
    }

    fn internal_topics(&mut self) {
        let Request {
            application_id,
            shuffle_partitions,
            ..
        } = self.request;
        let topics = application::internal_topics(
            application_id,
            *shuffle_partitions,
            match self.plan().polls() {
                true => *shuffle_partitions,
                false => application::OFFSETS_PARTITIONS,
            },
            self.plan(),
        );
        let width = topics.iter().map(|topic| topic.name.len()).max().unwrap_or_default();
        self.out.push_str("\ninternal topics\n");
        for topic in topics {
            let partitions = counted(topic.partitions as usize, "partition");
            let _ = writeln!(self.out, "  {:<width$}  {partitions:<13}  {}", topic.name, topic.holds);
        }
    }

    fn metrics(&mut self, pipeline: usize) {
        let name = self.mask(&self.checked.plan.pipelines[pipeline]);
        let _ = writeln!(self.out, "\nmetrics of {name}");
        let checked = self.checked;
        for (at, metric) in checked
            .plan
            .metrics
            .iter()
            .enumerate()
            .filter(|(_, metric)| metric.pipeline == pipeline)
        {
            let feeds: Vec<(&TopicPlan, &SourcePlan, &Recipe)> = checked
                .plan
                .topics
                .iter()
                .flat_map(|topic| topic.sources.iter().map(move |source| (topic, source)))
                .flat_map(|(topic, source)| source.recipes.iter().map(move |recipe| (topic, source, recipe)))
                .filter(|(_, _, recipe)| recipe.metric == MetricIx(at))
                .collect();
            self.metric(metric, &feeds, &checked.expenses[at]);
            let joins = checked.plan.joins_of(MetricIx(at));
            for join in &joins {
                self.line(4, "joined", &self.mask(&checked.plan.joins[join.0].name));
            }
            if !metric.name.starts_with("streamgauge_") {
                self.froms(&checked.plan.feeding(&joins, MetricIx(at)));
            }
            if !joins.is_empty() && !metric.labels.is_empty() {
                self.line(4, "labels", &self.mask(&metric.labels.join(", ")));
            }
        }
        if let Some(lag) = checked.plan.lag.as_ref().filter(|lag| lag.pipeline == pipeline) {
            self.lag(lag);
        }
    }

    /// What is asked of lag, and the metrics that come of it.
    fn lag(&mut self, lag: &Lag) {
        let rules = match lag.status {
            Rules::Corrected => "corrected rules",
            Rules::Burrow { .. } => "Burrow's rules",
        };
        let _ = writeln!(self.out, "  lag of consumer groups");
        let from = match lag.from {
            LagFrom::Auto => format!("{OFFSETS_TOPIC}, or the Admin API where that may not be read"),
            LagFrom::Offsets => OFFSETS_TOPIC.to_owned(),
            LagFrom::Admin => "the Admin API, asked by one instance".to_owned(),
        };
        self.line(4, "from", &from);
        self.line(4, "groups", &self.mask(&lag.groups.to_string()));
        self.line(4, "topics", &self.mask(&lag.topics.to_string()));
        self.line(4, "every", &format!("{}, status by {rules}", spell_duration(lag.every)));
        let most = format!(
            "{} partitions of groups in each partition of what it reads",
            lag.max_series
        );
        self.line(4, "at most", &most);
        // Bytes and ages come from tapped records alone.
        let tapped = ["kafka_consumer_bytes_total", "kafka_consumer_latency_seconds"];
        let has_topics = self.plan().taps();
        for name in metric_names().filter(|name| has_topics || !tapped.contains(name)) {
            let _ = writeln!(self.out, "    {name}");
        }
    }

    /// The sources of a metric.
    fn froms(&mut self, sources: &[(&TopicPlan, &SourcePlan)]) {
        for (at, (topic, source)) in sources.iter().enumerate() {
            let when = match &source.when {
                Some(when) => format!(" when {}", self.expression(when)),
                None => String::new(),
            };
            let from = format!("{} ({}){when}", source.name, self.mask(&topic.topic));
            self.line(4, if at == 0 { "from" } else { "" }, &from);
        }
    }

    fn traces(&mut self, pipeline: usize) {
        let mut traces = Vec::new();
        for join in &self.plan().joins {
            if let Operator::Respond(Respond {
                journeys: Some(journeys),
                ..
            }) = &join.operator
                && journeys.pipeline == pipeline
            {
                traces.push((join.name.clone(), journeys.clone()));
            }
        }
        if traces.is_empty() {
            return;
        }
        let name = self.mask(&self.plan().pipelines[pipeline]);
        let _ = writeln!(self.out, "\ntraces of {name}");
        for (join, journeys) in traces {
            let _ = writeln!(self.out, "  {}  {}", self.mask(&journeys.name), self.mask(&join));
            let children = journeys.children.iter().map(|child| child.name.as_str());
            let spans: Vec<&str> = std::iter::once(journeys.root.name.as_str()).chain(children).collect();
            self.line(4, "spans", &self.mask(&spans.join(", ")));
            let kept = match journeys.sampling.slow {
                Some(slow) => format!(
                    "failed, were not answered, or took longer than {}",
                    spell_duration(slow)
                ),
                None => "failed or were not answered".to_owned(),
            };
            // To a millionth, so that what a threshold rounds is not shown.
            let percent = (journeys.sampling.share() * 1e8).round() / 1e6;
            let sampled = format!("{percent} %, and all that {kept}");
            self.line(4, "sampled", &self.mask(&sampled));
        }
    }

    fn metric(&mut self, metric: &Metric, feeds: &[(&TopicPlan, &SourcePlan, &Recipe)], expense: &Expense) {
        let value = feeds
            .first()
            .map_or(String::new(), |(_, _, recipe)| self.value(&recipe.value));
        let value = match &metric.kind {
            Kind::Explicit { .. } | Kind::Exponential { .. } if !value.is_empty() => format!(",{value}"),
            _ => value,
        };
        let unit = if metric.unit.is_empty() {
            String::new()
        } else {
            format!(", unit {}", self.mask(&metric.unit))
        };
        let _ = writeln!(self.out, "  {}  {}{value}{unit}", metric.name, kind(&metric.kind));
        if let Some((_, _, recipe)) = feeds.first() {
            for (at, (name, from)) in metric.labels.iter().zip(&recipe.labels).enumerate() {
                self.line(
                    4,
                    if at == 0 { "labels" } else { "" },
                    &format!("{name} = {}", self.label(from)),
                );
            }
        }
        let all = feeds.iter().filter(|(_, source, _)| source.name == "*").count();
        if all > 0 {
            self.line(4, "from", &format!("every record of {}", counted(all, "topic")));
        }
        let named = feeds.iter().filter(|(_, source, _)| source.name != "*");
        let named: Vec<(&TopicPlan, &SourcePlan)> = named.map(|(topic, source, _)| (*topic, *source)).collect();
        self.froms(&named);
        let partitions = self.request.shuffle_partitions;
        let most = u64::from(metric.max_series) * u64::from(partitions);
        let window = self.mask(&spell_duration(metric.window.span()));
        let series = self.mask(&metric.max_series.to_string());
        let bound = format!(
            "{window}, at most {most} points each ({series} series in each of {})",
            counted(partitions as usize, "gauge partition")
        );
        self.line(4, "window", &bound);
        self.line(4, "costs", &costs(expense));
    }

    fn value(&self, value: &ValueFrom) -> String {
        match value {
            ValueFrom::One => " of records".to_owned(),
            ValueFrom::Bytes => " of bytes of the value".to_owned(),
            ValueFrom::AppendLatency => " of the time from event to append (LogAppendTime topics only)".to_owned(),
            ValueFrom::Field { pointer, .. } => format!(" of {}", self.mask(pointer)),
        }
    }

    fn label(&self, from: &LabelFrom) -> String {
        let otherwise = |otherwise: &Option<String>| match otherwise {
            Some(value) => format!(", else \"{}\"", self.mask(value)),
            None => ", required".to_owned(),
        };
        match from {
            LabelFrom::Const(value) => format!("\"{}\"", self.mask(value)),
            LabelFrom::Topic => "the record's topic".to_owned(),
            LabelFrom::Offset => "the offset".to_owned(),
            LabelFrom::Partition => "the record's partition".to_owned(),
            LabelFrom::Header { name, otherwise: value } => {
                format!("the header {}{}", self.mask(name), otherwise(value))
            }
            LabelFrom::Field {
                pointer,
                otherwise: value,
                ..
            } => format!("{}{}", self.mask(pointer), otherwise(value)),
            LabelFrom::Expr { expr, otherwise: value } => format!("{}{}", self.expression(expr), otherwise(value)),
        }
    }

    /// On one line, whatever its layout in the file.
    fn expression(&self, expr: &Expr) -> String {
        self.mask(&expr.source().split_whitespace().collect::<Vec<_>>().join(" "))
    }

    fn notes(&mut self) {
        if self.checked.notes.is_empty() {
            return;
        }
        self.out.push_str("\nnotes\n");
        for note in &self.checked.notes {
            let _ = writeln!(self.out, "  {}", self.checked.hidden.mask(note));
        }
    }
}

fn kind(kind: &Kind) -> String {
    match kind {
        Kind::Count | Kind::Sum => "counter".to_owned(),
        Kind::Level(_) => "gauge".to_owned(),
        Kind::Explicit { bounds } => format!("histogram, {} buckets", bounds.len() + 1),
        Kind::Exponential { max_buckets } => format!("exponential histogram, up to {max_buckets} buckets"),
    }
}

fn costs(expense: &Expense) -> String {
    let mut parts = vec![format!("{} a record", counted(expense.fields, "field"))];
    if expense.native > 0 {
        parts.push(format!("{} compiled", counted(expense.native, "expression")));
    }
    if expense.interpreted > 0 {
        parts.push(format!(
            "{} interpreted (some microseconds a record each)",
            counted(expense.interpreted, "expression")
        ));
    }
    parts.join(", ")
}

fn counted(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}
