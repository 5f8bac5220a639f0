//! Starting a module: what its segments cost, and whether they fit (spec PACK-13, PACK-24).

use alloc::vec::Vec;

use wasmparser::{
    ConstExpr, DataKind, DataSectionReader, ElementItems, ElementKind, ElementSectionReader,
    Operator,
};

use crate::{cost, limits::PAGE, refusal::Refusal};

/// What is known of a module's initial state.
#[derive(Debug, Default)]
pub(crate) struct Start {
    /// Values of globals that are 32-bit integers known beforehand.
    pub(crate) globals: Vec<Option<u32>>,
    /// Elements that each table starts with.
    pub(crate) tables: Vec<u64>,
    /// Pages that the memory starts with.
    pub(crate) pages: u64,
    /// Fuel of it all.
    pub(crate) fuel: u64,
}

impl Start {
    /// The value of a 32-bit initialiser, if it does not depend on imports.
    pub(crate) fn value(&self, expression: &ConstExpr<'_>) -> Option<u32> {
        match expression.get_operators_reader().read().ok()? {
            Operator::I32Const { value } => Some(value.cast_unsigned()),
            Operator::GlobalGet { global_index } => *self.globals.get(global_index as usize)?,
            _ => None,
        }
    }

    /// Charges what the module begins with.
    pub(crate) fn charge_state(&mut self) {
        let tables: u64 = self.tables.iter().sum();
        self.fuel += self.pages * u64::from(cost::PAGE) + (tables >> cost::BULK_BYTES_SHIFT);
    }

    /// Checks and charges element segments.
    pub(crate) fn elements(
        &mut self,
        section: ElementSectionReader<'_>,
        problems: &mut Vec<Refusal>,
    ) -> Result<(), Refusal> {
        for (index, element) in (0..).zip(section) {
            let element = element?;
            let count = match &element.items {
                ElementItems::Functions(items) => items.count(),
                ElementItems::Expressions(_, items) => items.count(),
            };
            self.fuel += u64::from(count);
            if let ElementKind::Active { table_index, offset_expr } = &element.kind {
                let table = table_index.unwrap_or(0) as usize;
                let size = self.tables.get(table).copied().unwrap_or(0);
                let fits = self
                    .value(offset_expr)
                    .is_some_and(|offset| u64::from(offset) + u64::from(count) <= size);
                if !fits {
                    problems.push(Refusal::Segment { kind: "element", index });
                }
            }
        }
        Ok(())
    }

    /// Checks and charges data segments.
    pub(crate) fn data(
        &mut self,
        section: DataSectionReader<'_>,
        problems: &mut Vec<Refusal>,
    ) -> Result<(), Refusal> {
        for (index, data) in (0..).zip(section) {
            let data = data?;
            if let DataKind::Active { offset_expr, .. } = &data.kind {
                self.fuel += data.data.len() as u64 >> cost::BULK_BYTES_SHIFT;
                let fits = self.value(offset_expr).is_some_and(|offset| {
                    u64::from(offset) + data.data.len() as u64 <= self.pages * PAGE
                });
                if !fits {
                    problems.push(Refusal::Segment { kind: "data", index });
                }
            }
        }
        Ok(())
    }
}
