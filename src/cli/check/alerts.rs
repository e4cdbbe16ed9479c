//! What `check` tells of alerts.

use super::{Report, spell_duration};
use crate::engine::plan::{Alert, Bound, Condition, Receiver, Via};

impl Report<'_> {
    pub(super) fn alerts(&mut self) {
        if self.checked.plan.alerts.is_empty() {
            return;
        }
        self.out.push_str("\nalerts\n");
        for alert in &self.checked.plan.alerts {
            let heading = format!("  {}  {}\n", alert.name, self.mask(&alert.severity));
            self.out.push_str(&heading);
            self.line(4, "when", &self.condition(alert));
            let told = match alert.to.as_slice() {
                [] => "nobody: it is shown as streamgauge_alerts".to_owned(),
                names => {
                    let receivers = &self.checked.plan.receivers;
                    let of = |name: &String| receivers.iter().find(|receiver| receiver.name == *name);
                    let told: Vec<String> = names
                        .iter()
                        .filter_map(of)
                        .map(|receiver| self.receiver(receiver))
                        .collect();
                    told.join(", ")
                }
            };
            self.line(4, "told", &told);
        }
    }

    fn condition(&self, alert: &Alert) -> String {
        let bound = |bound: Bound| match bound {
            Bound::Above(than) => format!("above {than}"),
            Bound::Below(than) => format!("below {than}"),
        };
        let labels = |places: &[usize]| {
            let names = places.iter().filter_map(|at| alert.labels.get(*at));
            names.cloned().collect::<Vec<_>>().join(", ")
        };
        let mut of = alert.metric.clone();
        for (at, values) in &alert.matching {
            let name = alert.labels.get(*at).map_or("", String::as_str);
            of.push_str(&format!(" where {name} is {}", self.mask(&values.join(" or "))));
        }
        match &alert.sum_by {
            Some(by) if by.is_empty() => of.push_str(", added up"),
            Some(by) => of.push_str(&format!(", added up by {}", labels(by))),
            None => {}
        }
        let what = match alert.condition {
            Condition::Value(than) => format!("{of} is {}", bound(than)),
            Condition::Rate {
                over,
                bound: than,
                began_above,
            } => {
                let began = began_above.map_or(String::new(), |least| format!(", and was above {least} before"));
                format!(
                    "{of} grows {} a second over {}{began}",
                    bound(than),
                    spell_duration(over)
                )
            }
            Condition::Absent(span) => format!("{of} says nothing for {}", spell_duration(span)),
        };
        format!("{what}, for {}", spell_duration(alert.hold))
    }

    fn receiver(&self, receiver: &Receiver) -> String {
        let how = match &receiver.via {
            Via::Mail(mail) => format!("mail by {}:{} to {}", mail.host, mail.port, mail.to.join(", ")),
            Via::Alertmanager(manager) => format!("Alertmanager at {}", manager.urls.join(", ")),
            Via::Topic(topic) => format!("the topic {topic}"),
        };
        format!("{} ({})", receiver.name, self.mask(&how))
    }
}
