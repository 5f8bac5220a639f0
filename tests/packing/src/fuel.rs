//! What execution is to cost, counted by wasmtime instead of by the packed module.
//!
//! wasmtime can be given a price for each instruction. Given those of the profile, it burns what a
//! packed module must charge itself, as long as the call returns: packed modules charge ahead.

use wasmparser::{Operator, Parser, Payload};
use wasmtime::OperatorCost;

/// Fuel of a direct call.
const CALL: u8 = 6;
/// Fuel of a call through a table.
const CALL_INDIRECT: u8 = 12;
/// What wasmtime burns whenever a function is entered.
const ENTRY: u8 = 1;

/// The prices of the profile (spec PACK-20), written down a second time on purpose.
pub fn prices() -> OperatorCost {
    let mut prices = OperatorCost::new();
    macro_rules! set {
        ($($price:expr => $($name:ident)*;)*) => { $($(prices.$name = $price;)*)* };
    }
    set! {
        CALL - ENTRY => Call ReturnCall;
        CALL_INDIRECT - ENTRY => CallIndirect ReturnCallIndirect;
        2 => BrTable;
        8 => I32DivS I32DivU I32RemS I32RemU I64DivS I64DivU I64RemS I64RemU F32Div F64Div F32Sqrt F64Sqrt
            F32x4Div F64x2Div F32x4Sqrt F64x2Sqrt;
        3 => F32Min F32Max F64Min F64Max F32x4Min F32x4Max F64x2Min F64x2Max I64x2Mul I8x16Shl I8x16ShrS
            I8x16ShrU I64x2ShrS I8x16Popcnt I8x16Swizzle I8x16Shuffle I32x4TruncSatF32x4S I32x4TruncSatF32x4U
            I32x4TruncSatF64x2SZero I32x4TruncSatF64x2UZero F32x4ConvertI32x4U I32TruncSatF32S I32TruncSatF32U
            I32TruncSatF64S I32TruncSatF64U I64TruncSatF32S I64TruncSatF32U I64TruncSatF64S I64TruncSatF64U
            I32TruncF32S I32TruncF32U I32TruncF64S I32TruncF64U I64TruncF32S I64TruncF32U I64TruncF64S
            I64TruncF64U F32ConvertI64U F64ConvertI64U;
        64 => MemoryCopy MemoryFill MemoryInit TableCopy TableFill TableInit DataDrop ElemDrop;
        // 256, but for the width of this table.
        255 => MemoryGrow TableGrow;
    }
    prices.variable.memory_copy_per_byte = 0;
    prices.variable.memory_fill_per_byte = 0;
    prices.variable.memory_init_per_byte = 0;
    prices.variable.memory_grow_per_page = 0;
    prices.variable.table_copy_per_element = 0;
    prices.variable.table_fill_per_element = 0;
    prices.variable.table_init_per_element = 0;
    prices.variable.table_grow_per_element = 0;
    prices
}

/// What each function of a driver burns besides what it calls, and with it the entry of the callee,
/// which packed modules charge with the call.
pub fn overheads(driver: &[u8]) -> Vec<u64> {
    let prices = prices();
    let bodies = Parser::new(0).parse_all(driver).filter_map(|payload| match payload {
        Ok(Payload::CodeSectionEntry(body)) => Some(body),
        _ => None,
    });
    let burned = |body: wasmparser::FunctionBody<'_>| {
        let operators = body.get_operators_reader().expect("a driver is valid");
        let all: i64 = operators
            .into_iter()
            .map(|operator| prices.cost(&operator.expect("a driver is valid")))
            .sum();
        all.cast_unsigned() + 2 * u64::from(ENTRY)
    };
    bodies.map(burned).collect()
}

/// Whether a module has instructions whose price depends on a size, which the table here leaves out.
pub fn charges_by_size(wasm: &[u8]) -> bool {
    Parser::new(0).parse_all(wasm).any(|payload| {
        let Ok(Payload::CodeSectionEntry(body)) = payload else { return false };
        let mut operators = body.get_operators_reader().expect("the module is valid").into_iter();
        operators.any(|operator| {
            matches!(
                operator.expect("the module is valid"),
                Operator::MemoryCopy { .. }
                    | Operator::MemoryFill { .. }
                    | Operator::MemoryInit { .. }
                    | Operator::MemoryGrow { .. }
                    | Operator::TableCopy { .. }
                    | Operator::TableFill { .. }
                    | Operator::TableInit { .. }
                    | Operator::TableGrow { .. }
            )
        })
    })
}
