//! What the records of each source bring to the joins, compiled.
//!
//! Rule: fields and expressions go into the one projection of the topic; what a side costs is also told of it alone.

use super::join::Carrying;
use super::{Builder, Expense, compile_label};
use crate::engine::plan::{Emit, JoinIx, KeyFrom, MetricIx, Operator, Side, ValueFrom};
use crate::engine::tap::expr::Cost;
use crate::pipeline::compile::Compiler;
use crate::pipeline::read::{Said, Source, Time};

// === impl Builder ===

impl<'d> Builder<'d, '_> {
    /// Compiles the sides of the joins from the `first` on; gives what each source emits, and fills in what that costs.
    pub(super) fn emits(&mut self, first: usize) -> Vec<(&'d Source, Emit)> {
        let mut emits = Vec::new();
        let joins = std::mem::take(&mut self.joins);
        for (at, join) in joins.iter().enumerate().skip(first) {
            let mut most = Expense::default();
            for (side, carrying) in (0..).zip(&join.sides) {
                for source in &carrying.sources {
                    let emit = self.emit(JoinIx(at), Side(side), carrying, source, &mut most);
                    emits.extend(emit.map(|emit| (*source, emit)));
                }
            }
            for metric in metrics_of(&join.operator) {
                if let Some(expense) = self.expenses.get_mut(metric.0) {
                    expense.clone_from(&most);
                }
            }
        }
        self.joins = joins;
        emits
    }

    fn emit(
        &mut self,
        join: JoinIx,
        side: Side,
        carrying: &Carrying<'_>,
        source: &Source,
        most: &mut Expense,
    ) -> Option<Emit> {
        let topic = self.topics.get_mut(source.topic.value.as_str())?;
        let mut alone = Compiler::default();
        let mut expressions = Vec::new();
        if let Time::Field { pointer, .. } = &source.time.value {
            alone.field(pointer, &source.time.place, self.faults);
        }
        if let Some(when) = &source.when {
            expressions.extend(alone.expression(when, self.faults));
        }
        let Said { value: pointer, place } = &carrying.key;
        alone.field(pointer, place, self.faults);
        let slot = topic.compiler.field(pointer, place, self.faults);
        let mut carries = Vec::new();
        for (place, label) in &carrying.carries {
            carries.push(compile_label(
                label,
                place,
                &mut topic.compiler,
                &mut alone,
                &mut expressions,
                self.faults,
            ));
        }
        let value = match &carrying.value {
            None => Some(ValueFrom::One),
            Some(value) => super::compile_value(value, &mut topic.compiler, &mut alone, self.faults),
        };
        let interpreted = expressions
            .iter()
            .filter(|expr| expr.cost() == Cost::Interpreted)
            .count();
        most.fields = most.fields.max(alone.into_projection().slots());
        most.interpreted = most.interpreted.max(interpreted);
        most.native = most.native.max(expressions.len() - interpreted);
        Some(Emit {
            join,
            side,
            key: KeyFrom {
                slot: slot?,
                pointer: pointer.clone(),
            },
            carries: carries.into_iter().collect::<Option<Vec<_>>>()?,
            labels: carrying.labels,
            value: value?,
            unkeyed: None,
        })
    }
}

fn metrics_of(operator: &Operator) -> Vec<MetricIx> {
    match operator {
        Operator::Respond(respond) => respond.measured.iter().map(|measured| measured.metric).collect(),
        Operator::Latest(latest) => latest.asks.iter().map(|ask| ask.metric).collect(),
    }
}
