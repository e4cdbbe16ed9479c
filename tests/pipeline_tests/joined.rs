//! What needs two records to know, tested as anything else.

use super::{Folder, streamgauge};

const JOINS: &str = "\
pipeline: p
sources:
  asked: { topic: asked, time: /time }
  answered: { topic: answered, time: /time }
  tickets: { topic: tickets, time: /time }
metrics:
  response_time_seconds:
    respond: { from: asked, to: answered, on: /id, within: 1h }
    labels: { channel: { from: /channel } }
    histogram: { kind: explicit, buckets: [1, 60] }
  responses_unanswered_total:
    respond: { from: asked, to: answered, on: /id, within: 1h, measure: unanswered }
    labels: { channel: { from: /channel } }
  responses_unmatched_total:
    respond: { from: asked, to: answered, on: /id, within: 1h, measure: unmatched }
  responses_open:
    respond: { from: asked, to: answered, on: /id, within: 1h, measure: open }
  tickets_total:
    count: tickets
    labels:
      channel: { latest: { of: asked, take: /channel, on: /customer, equals: /customer, within: 1h }, else: unknown }
";

const CASES: &str = "  the first answer counts, also if it arrives before the question:
    given:
      - { source: answered, at: 3s, value: { id: 1 } }
      - { source: asked, at: 1s, value: { id: 1, channel: email } }
      - { source: answered, at: 4s, value: { id: 1 } }
      - { source: answered, at: 5s, value: { id: 2 } }
    expect:
      metrics:
        response_time_seconds: [ { labels: { channel: email }, count: 1, sum: 2, buckets: { \"60\": 1 } } ]
        responses_unanswered_total: none
        responses_unmatched_total: [ { value: 1 } ]
        responses_open: [ { value: 0 } ]
  a question is open until its bound and then unanswered:
    given: [ { source: asked, at: 1s, value: { id: 1, channel: email } } ]
    expect:
      metrics:
        responses_open: [ { value: 1 } ]
        responses_unanswered_total: none
  an hour later it is unanswered:
    given:
      - { source: asked, at: 1s, value: { id: 1, channel: email } }
      - wait: 2h
    expect:
      metrics:
        responses_open: [ { value: 0 } ]
        responses_unanswered_total: [ { labels: { channel: email }, value: 1 } ]
  a ticket has the channel that its customer used last before it:
    given:
      - { source: asked, at: 1s, value: { id: 1, customer: c, channel: email } }
      - { source: tickets, at: 2s, value: { customer: c } }
      - { source: asked, at: 3s, value: { id: 2, customer: c, channel: fax } }
      - { source: tickets, at: 4s, value: { customer: c } }
      - { source: tickets, at: 4s, value: { customer: d } }
    expect:
      metrics:
        tickets_total:
          - { labels: { channel: email }, value: 1 }
          - { labels: { channel: fax }, value: 1 }
          - { labels: { channel: unknown }, value: 1 }
";

#[test]
fn joins_are_played_as_in_production() {
    let folder = Folder::new();
    std::fs::write(folder.path("p.yaml"), JOINS).expect("written");
    let (code, stdout, stderr) = streamgauge(&[&folder.cases(CASES)]);
    assert_eq!(code, 0, "{stdout}{stderr}");
}
