//! What each instruction costs (spec GUEST-7). Part of the engine profile: a change here is a new
//! profile.

use wasmtime::{OperatorCost, VariableOperatorCost};

/// Fuel of an instruction that calls into the engine and may ask the system for pages.
const GROW: u8 = 255;
/// Fuel of a bulk instruction before the bytes or elements that it moves: about 90 ns when empty,
/// at the 0.3 ns to 0.7 ns that a unit takes in calls and loops.
const BULK: u8 = 128;

/// One unit an instruction, with these exceptions: nothing for what only marks structure; more for
/// what calls out of compiled code; and one unit for each byte or element of a bulk operation, so
/// that one instruction cannot stand for gigabytes of work.
pub(crate) fn table() -> OperatorCost {
    OperatorCost {
        Nop: 0,
        Drop: 0,
        Block: 0,
        Loop: 0,
        Unreachable: 0,
        Return: 0,
        Else: 0,
        End: 0,
        MemoryGrow: GROW,
        TableGrow: GROW,
        MemoryCopy: BULK,
        MemoryFill: BULK,
        MemoryInit: BULK,
        TableCopy: BULK,
        TableFill: BULK,
        TableInit: BULK,
        variable: VariableOperatorCost {
            memory_copy_per_byte: 1,
            memory_fill_per_byte: 1,
            memory_init_per_byte: 1,
            memory_grow_per_page: GROW,
            table_copy_per_element: 1,
            table_fill_per_element: 1,
            table_init_per_element: 1,
            table_grow_per_element: 1,
            ..VariableOperatorCost::new()
        },
        ..OperatorCost::new()
    }
}
