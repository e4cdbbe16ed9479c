//! A lag task's state from its changelog, and whether it fits the committed offset.
//!
//! Rule: state counts up to the committed offset, else the stage stops: what lies between would be counted twice or never.
//!
//! Edges:
//! - records come as they were written, newer ones behind older ones of the same key;
//! - groups and topics that are not wanted any more are ended with the next seal;
//! - after a reset that the operator accepted the next commit of each row is its first.

use std::collections::BTreeSet;

use super::changelog::{self, Key, TaskRecord};
use super::polled::OwnRecord;
use super::record;
use super::stage::LagTask;
use crate::engine::codec::CodecError;
use crate::engine::gauge;
use crate::engine::task::Halt;
use crate::engine::time::WallTime;

impl LagTask {
    pub(super) fn restore(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), Halt> {
        let corrupt = |what: &str| {
            Halt::Stop(format!(
                "the changelog of lag partition {} holds {what}",
                self.partition
            ))
        };
        let broken = |error: CodecError| corrupt(&error.to_string());
        let Some(key) = Key::read(key) else {
            return Err(corrupt("a key that streamgauge never writes"));
        };
        match key {
            Key::Task => {
                if let Some(value) = value {
                    self.restored = Some(TaskRecord::read(value).map_err(broken)?);
                }
            }
            Key::Row(group, topic, partition) => {
                let apart = self.options.lag.every;
                let row = value.map(|value| changelog::read_row(value, apart)).transpose();
                self.table.restore(group, topic, partition, row.map_err(broken)?);
            }
            Key::Consumed(group, topic) => {
                let consumed = value.map(|value| changelog::read_consumed(value, &self.latency));
                let consumed = consumed.transpose().map_err(broken)?;
                self.table.restore_consumed(group, topic, consumed);
            }
            Key::Group(group) => match value {
                Some(value) => {
                    let (shown, states) = changelog::read_group(value).map_err(broken)?;
                    let row = self.table.group(group);
                    (row.shown, row.states) = (shown, states);
                }
                None => {
                    if let Some(row) = self.table.groups.get_mut(group) {
                        (row.shown, row.states) = Default::default();
                    }
                }
            },
            Key::Own(metric, key) => {
                if let (Some(metric), Some(value)) = (super::metrics::own_name(metric), value) {
                    let counter = gauge::read_counter(value).map_err(broken)?;
                    self.own.insert((metric, key.to_vec()), counter);
                }
            }
            Key::Raw(key) => {
                if let Ok(Some(OwnRecord::Group { group, polled })) = OwnRecord::read(Some(key), value) {
                    if self.options.lag.groups.has(group) {
                        self.groups.poll(group, polled);
                    } else {
                        self.raw.insert(key.to_vec(), None);
                    }
                } else if let Ok(record::Record::Group { kind, group, of, value }) =
                    record::Record::read(Some(key), value)
                {
                    if !self.options.lag.groups.has(group) {
                        self.raw.insert(key.to_vec(), None);
                        return Ok(());
                    }
                    let known = self.groups.record(kind, group, of, value);
                    known.map_err(|error| corrupt(&error.to_string()))?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn restored(&mut self) -> Result<(), Halt> {
        match (self.committed, self.restored.take()) {
            (None, None) => {}
            (Some(offset), Some(record)) if record.next == offset || self.is_reset => {
                self.last_point = WallTime(record.last_point);
                self.overflowed_before = record.overflowed;
                self.unknown = record.unknown;
            }
            (Some(_), None) if self.is_reset => {}
            (committed, record) => {
                let counted = record.map(|record| record.next);
                return Err(Halt::disagreement("lag", self.partition, committed, counted));
            }
        }
        if self.is_reset {
            self.table.begin_anew();
        }
        let lag = &self.options.lag;
        self.table
            .retain(|group, topic| lag.groups.has(group) && lag.topics.has(topic));
        // Those of which only the group's own records are known, and those of which nothing is any more.
        let (table, groups) = (&mut self.table, &mut self.groups);
        let with_offsets: Vec<Box<str>> = table.with_offsets();
        for group in &with_offsets {
            groups.commits(group);
        }
        let known: BTreeSet<Box<str>> = groups.iter().map(|(group, _)| group.into()).collect();
        let unwanted = known.iter().filter(|group| !lag.groups.has(group));
        for group in unwanted.cloned().collect::<Vec<_>>() {
            groups.forget(&group);
            table.forget_group(&group);
        }
        let empty: Vec<Box<str>> = groups
            .iter()
            .filter(|(group, of)| of.is_gone() && !table.has_offsets(group))
            .map(|(group, _)| group.into())
            .collect();
        for group in empty {
            groups.commits_no_more(&group);
        }
        for (group, _) in groups.iter() {
            table.group(group);
        }
        table.forget_groups(|group| groups.get(group).is_some());
        Ok(())
    }
}
