//! The types of events, and what each tells: the table in `docs/logs.md`.

/// Name and meaning, by name. A test holds the sources, the page and the schema to it.
pub const EVENTS: &[(&str, &str)] = &[
    (
        "alertmanager_partly_told",
        "one Alertmanager took a notification, another did not",
    ),
    (
        "assignment_unanswered",
        "a change of the assignment was not answered yet; it is tried again",
    ),
    ("audit_note", "what `audit` could not ask for"),
    (
        "broker_awaited",
        "the brokers do not answer, or not as they must; it is tried again",
    ),
    (
        "commit_failed",
        "a commit of an instrumented consumer failed: records may be handled again",
    ),
    ("complaint", "why the process ends, or does not start"),
    ("consumer_event", "an instrumented consumer handled a record"),
    ("consumer_trouble", "an instrumented consumer goes on after an error"),
    (
        "drain_unfinished",
        "something did not end within `--drain`; the next start settles it",
    ),
    (
        "export_outage",
        "a collector or receiver takes nothing; it is asked again until it does",
    ),
    ("export_recovered", "it answers again"),
    ("export_retry", "the brokers were asked again"),
    ("export_target", "where metrics, traces or notifications go"),
    (
        "group_commits_unknown",
        "what another group has committed was not answered",
    ),
    (
        "group_fenced",
        "the group did not know this member any more; it joins again",
    ),
    ("group_owners_unknown", "who owns which partition was not answered"),
    ("groups_asked", "groups were asked for what they committed"),
    ("groups_polled", "lag comes from the Admin API, and why"),
    ("groups_polled_elsewhere", "another instance polls the groups"),
    ("groups_unknown", "groups, or one of them, did not answer"),
    ("http_connection", "a connection to the HTTP listener broke"),
    ("http_failed", "the HTTP listener did not start"),
    (
        "http_without_token",
        "others can reach the HTTP listener, and it asks for no token",
    ),
    ("index_reread", "the offset index is read again, and why"),
    ("input_topic_missing", "an input topic does not exist yet"),
    ("input_topic_unreadable", "an input topic cannot be read, and why"),
    (
        "input_topics_unknown",
        "the brokers did not tell which input topics there are",
    ),
    ("kafka_trouble", "trouble with the brokers that may pass"),
    ("library_event", "what another library says; `target` says which"),
    ("librdkafka", "what the Kafka library says"),
    ("log_ends_unknown", "where logs end was not answered"),
    ("log_filter_refused", "RUST_LOG is not a filter, and is not used"),
    ("mail_partly_refused", "mail did not reach all of its addresses"),
    ("outbox_gap", "retention was faster than the export: requests are lost"),
    (
        "own_metrics_refused",
        "the collector does not take the process's own metrics",
    ),
    (
        "own_traces_refused",
        "the collector does not take the process's own spans",
    ),
    ("panic", "a bug: a thread has ended where it must not"),
    (
        "partition_held",
        "a partition waits for an instance that knows its metric",
    ),
    ("partition_opened", "a partition is read from this offset on"),
    ("partitions_assigned", "a worker was given partitions"),
    (
        "partitions_lost",
        "a worker was too late, and others have its partitions",
    ),
    (
        "partitions_orphaned",
        "no member owns these partitions; the group is made to deal anew",
    ),
    ("partitions_revoked", "a worker gives partitions back"),
    ("pipeline_refused", "what is wrong with the pipelines"),
    (
        "points_refused",
        "a collector or receiver refused something for good; it is in the dead letters",
    ),
    (
        "producer_event",
        "an instrumented producer knows what became of a record",
    ),
    ("producer_renewed", "an export loop begins anew, from what is committed"),
    ("reader_trouble", "trouble in reading a topic from the side"),
    ("receiver_failed", "the receiver of `demo` does not listen"),
    (
        "records_expired",
        "retention was faster than the group: records are lost, and counted",
    ),
    ("request_partly_rejected", "the collector took a request only in part"),
    (
        "reset_accepted",
        "a new ledger epoch begins (`--accept-reset`), and why",
    ),
    ("restore_stalled", "state is read back, and no more of it comes"),
    ("restore_trouble", "trouble in reading state back"),
    ("right_missing", "a right that can be done without is missing"),
    ("source_resumed", "no partition waits for others any more"),
    (
        "source_waiting",
        "a partition waits for the sources that it is joined with",
    ),
    ("started", "the process runs"),
    ("stopped", "the process has ended, and everything is committed"),
    ("stopping", "the process was told to stop"),
    ("tail_trouble", "trouble in reading the newest records of a topic"),
    ("task_note", "what the state of a partition needs somebody to know"),
    (
        "thread_missing",
        "a thread cannot be started, and what is missing without it",
    ),
    ("topic_created", "an internal topic was made"),
    ("topic_ids_unknown", "the ids of topics were not answered"),
    ("topic_missing", "a topic that is to be written does not exist"),
    ("topic_note", "an internal topic is not quite as it should be"),
    (
        "transaction_aborted",
        "a transaction was aborted; the same is sent again",
    ),
    (
        "transaction_retried",
        "an export loop puts a transaction together again",
    ),
    (
        "trimming_failed",
        "what is committed is not deleted from repartition topics",
    ),
    (
        "worker_restarted",
        "a worker closed its tasks and begins anew, from what is committed",
    ),
];
