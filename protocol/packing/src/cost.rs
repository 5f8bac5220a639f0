//! What execution costs: the table of the profile (spec PACK-20). A change here is a new profile.

use wasmparser::Operator;

/// Fuel that one charge may stand for at most. A stretch between two looks at the meter therefore
/// takes microseconds, and what a trap leaves charged but not done stays small.
pub const MAX_CHARGE: u32 = 1000;
/// Fuel that a function holds in a local variable, to count down in a register. What a trap leaves
/// of it counts as used.
pub const SLICE: i64 = 10_000;
/// Fuel of a bulk instruction before what it moves.
pub const BULK: u32 = 64;
/// Bytes that a unit of fuel moves in a bulk instruction, as a power of two.
pub const BULK_BYTES_SHIFT: u32 = 3;
/// Fuel of `memory.grow` and `table.grow` before what they add.
pub const GROW: u32 = 256;
/// Fuel of each page that `memory.grow` asks for.
pub const PAGE: u32 = 256;
/// Fuel of a call through a table.
const CALL_INDIRECT: u32 = 12;
/// Fuel of a direct call: the callee's frame.
const CALL: u32 = 6;
/// Fuel of a division or square root.
const DIVISION: u32 = 8;
/// Fuel of a vector instruction that machines without its like spell out.
const WIDE: u32 = 3;

/// Fuel of one instruction. What it charges by size besides is added at run time.
pub(crate) fn of(operator: &Operator<'_>) -> u32 {
    use Operator as O;
    match operator {
        O::Nop | O::Block { .. } | O::Loop { .. } | O::Else | O::End | O::Drop => 0,
        O::Unreachable | O::Return => 0,
        O::Call { .. } | O::ReturnCall { .. } => CALL,
        O::CallIndirect { .. } | O::ReturnCallIndirect { .. } => CALL_INDIRECT,
        O::BrTable { .. } => 2,
        O::I32DivS
        | O::I32DivU
        | O::I32RemS
        | O::I32RemU
        | O::I64DivS
        | O::I64DivU
        | O::I64RemS
        | O::I64RemU
        | O::F32Div
        | O::F64Div
        | O::F32Sqrt
        | O::F64Sqrt
        | O::F32x4Div
        | O::F64x2Div
        | O::F32x4Sqrt
        | O::F64x2Sqrt => DIVISION,
        O::F32Min
        | O::F32Max
        | O::F64Min
        | O::F64Max
        | O::F32x4Min
        | O::F32x4Max
        | O::F64x2Min
        | O::F64x2Max
        | O::I64x2Mul
        | O::I8x16Shl
        | O::I8x16ShrS
        | O::I8x16ShrU
        | O::I64x2ShrS
        | O::I8x16Popcnt
        | O::I8x16Swizzle
        | O::I8x16Shuffle { .. }
        | O::I32x4TruncSatF32x4S
        | O::I32x4TruncSatF32x4U
        | O::I32x4TruncSatF64x2SZero
        | O::I32x4TruncSatF64x2UZero
        | O::F32x4ConvertI32x4U
        | O::I32TruncSatF32S
        | O::I32TruncSatF32U
        | O::I32TruncSatF64S
        | O::I32TruncSatF64U
        | O::I64TruncSatF32S
        | O::I64TruncSatF32U
        | O::I64TruncSatF64S
        | O::I64TruncSatF64U
        | O::I32TruncF32S
        | O::I32TruncF32U
        | O::I32TruncF64S
        | O::I32TruncF64U
        | O::I64TruncF32S
        | O::I64TruncF32U
        | O::I64TruncF64S
        | O::I64TruncF64U
        | O::F32ConvertI64U
        | O::F64ConvertI64U => WIDE,
        O::MemoryCopy { .. }
        | O::MemoryFill { .. }
        | O::MemoryInit { .. }
        | O::TableCopy { .. }
        | O::TableFill { .. }
        | O::TableInit { .. }
        | O::DataDrop { .. }
        | O::ElemDrop { .. } => BULK,
        O::MemoryGrow { .. } | O::TableGrow { .. } => GROW,
        _ => 1,
    }
}
