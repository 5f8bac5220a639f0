//! Which NaNs may be of an engine's making (spec PACK-40 to PACK-42).
//!
//! Arithmetic may give any NaN; everything else keeps bits. A value that arithmetic made is made
//! canonical where its bits could be seen, and only there. Whether a NaN is *dirty* is followed from
//! the instruction that made it to those that use it; an instruction that lets bits be seen
//! *demands* a clean value, and then the canonical form is taken right where the value was made.

use alloc::{vec, vec::Vec};

use wasm_encoder::{Ieee32, Ieee64};
use wasmparser::{Operator, ValType};

/// How a dirty value is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lanes {
    F32,
    F64,
    F32x4,
    F64x2,
}

/// What is known of a value's bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tag {
    /// No NaN: canonicalising does nothing, and so fits either company. A vector is one only if it
    /// has no NaN in lanes of either width.
    Number,
    /// Bits that are the same everywhere and must stay as they are. Integers are this too.
    Exact,
    /// The same, of the load that edit `edit` notes: whether its bits are seen is followed.
    Loaded { edit: u32 },
    /// The same, read at offset `at` from a local that may hold what a load gave.
    Read { local: u32, at: u32 },
    /// If it is a NaN, then one whose bits the engine chose.
    Dirty {
        lanes: Lanes,
        /// The canonical NaN would be the negative one.
        negative: bool,
        /// The edit that canonicalises it where it was made.
        edit: u32,
    },
}

/// What an instruction does with float bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Takes dirty values of the first layout as they are; makes one of the second.
    Arithmetic(Lanes, Lanes),
    /// Takes dirty values as they are; its result has nothing of their NaNs' bits.
    Opaque(Lanes),
    /// Makes a value that is no NaN.
    Number,
    /// Flips the sign.
    Neg(Lanes),
    /// Clears the sign.
    Abs(Lanes),
    /// Takes a value of the first layout to the second, bits kept.
    Move(Lanes, Lanes),
    /// Lets bits be seen, or is not about floats.
    Exact,
}

impl Role {
    pub(crate) fn of(operator: &Operator<'_>) -> Self {
        use Lanes::{F32, F32x4, F64, F64x2};
        use Operator as O;
        match operator {
            O::F32Add
            | O::F32Sub
            | O::F32Mul
            | O::F32Div
            | O::F32Min
            | O::F32Max
            | O::F32Sqrt
            | O::F32Ceil
            | O::F32Floor
            | O::F32Trunc
            | O::F32Nearest => Self::Arithmetic(F32, F32),
            O::F64Add
            | O::F64Sub
            | O::F64Mul
            | O::F64Div
            | O::F64Min
            | O::F64Max
            | O::F64Sqrt
            | O::F64Ceil
            | O::F64Floor
            | O::F64Trunc
            | O::F64Nearest => Self::Arithmetic(F64, F64),
            O::F32DemoteF64 => Self::Arithmetic(F64, F32),
            O::F64PromoteF32 => Self::Arithmetic(F32, F64),
            O::F32x4Add
            | O::F32x4Sub
            | O::F32x4Mul
            | O::F32x4Div
            | O::F32x4Min
            | O::F32x4Max
            | O::F32x4Sqrt
            | O::F32x4Ceil
            | O::F32x4Floor
            | O::F32x4Trunc
            | O::F32x4Nearest => Self::Arithmetic(F32x4, F32x4),
            O::F64x2Add
            | O::F64x2Sub
            | O::F64x2Mul
            | O::F64x2Div
            | O::F64x2Min
            | O::F64x2Max
            | O::F64x2Sqrt
            | O::F64x2Ceil
            | O::F64x2Floor
            | O::F64x2Trunc
            | O::F64x2Nearest => Self::Arithmetic(F64x2, F64x2),
            O::F32x4DemoteF64x2Zero => Self::Arithmetic(F64x2, F32x4),
            O::F64x2PromoteLowF32x4 => Self::Arithmetic(F32x4, F64x2),
            O::F32Eq
            | O::F32Ne
            | O::F32Lt
            | O::F32Gt
            | O::F32Le
            | O::F32Ge
            | O::I32TruncF32S
            | O::I32TruncF32U
            | O::I64TruncF32S
            | O::I64TruncF32U
            | O::I32TruncSatF32S
            | O::I32TruncSatF32U
            | O::I64TruncSatF32S
            | O::I64TruncSatF32U => Self::Opaque(F32),
            O::F64Eq
            | O::F64Ne
            | O::F64Lt
            | O::F64Gt
            | O::F64Le
            | O::F64Ge
            | O::I32TruncF64S
            | O::I32TruncF64U
            | O::I64TruncF64S
            | O::I64TruncF64U
            | O::I32TruncSatF64S
            | O::I32TruncSatF64U
            | O::I64TruncSatF64S
            | O::I64TruncSatF64U => Self::Opaque(F64),
            O::F32x4Eq
            | O::F32x4Ne
            | O::F32x4Lt
            | O::F32x4Gt
            | O::F32x4Le
            | O::F32x4Ge
            | O::I32x4TruncSatF32x4S
            | O::I32x4TruncSatF32x4U => Self::Opaque(F32x4),
            O::F64x2Eq
            | O::F64x2Ne
            | O::F64x2Lt
            | O::F64x2Gt
            | O::F64x2Le
            | O::F64x2Ge
            | O::I32x4TruncSatF64x2SZero
            | O::I32x4TruncSatF64x2UZero => Self::Opaque(F64x2),
            O::F32ConvertI32S
            | O::F32ConvertI32U
            | O::F32ConvertI64S
            | O::F32ConvertI64U
            | O::F64ConvertI32S
            | O::F64ConvertI32U
            | O::F64ConvertI64S
            | O::F64ConvertI64U => Self::Number,
            O::F32Const { value } if !f32::from_bits(value.bits()).is_nan() => Self::Number,
            O::F64Const { value } if !f64::from_bits(value.bits()).is_nan() => Self::Number,
            O::V128Const { value } if !has_nan(value.bytes()) => Self::Number,
            O::F32Neg => Self::Neg(F32),
            O::F64Neg => Self::Neg(F64),
            O::F32x4Neg => Self::Neg(F32x4),
            O::F64x2Neg => Self::Neg(F64x2),
            O::F32Abs => Self::Abs(F32),
            O::F64Abs => Self::Abs(F64),
            O::F32x4Abs => Self::Abs(F32x4),
            O::F64x2Abs => Self::Abs(F64x2),
            O::F32x4Splat => Self::Move(F32, F32x4),
            O::F64x2Splat => Self::Move(F64, F64x2),
            O::F32x4ExtractLane { .. } => Self::Move(F32x4, F32),
            O::F64x2ExtractLane { .. } => Self::Move(F64x2, F64),
            _ => Self::Exact,
        }
    }
}

/// Whether a vector is a NaN in any lane of either layout.
fn has_nan(bytes: &[u8; 16]) -> bool {
    let (singles, _) = bytes.as_chunks::<4>();
    let (doubles, _) = bytes.as_chunks::<8>();
    singles.iter().any(|lane| f32::from_le_bytes(*lane).is_nan())
        || doubles.iter().any(|lane| f64::from_le_bytes(*lane).is_nan())
}

/// What a local variable holds, taken over all of a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Only what is no NaN.
    Number,
    /// Nothing dirty.
    Exact,
    /// Nothing exact but numbers; canonicalised when its bits are seen.
    Dirty(Lanes),
    /// Both: dirty values are canonicalised before they are assigned.
    Mixed,
}

impl Class {
    /// The class that also holds a value of `tag`.
    fn with(self, tag: Tag) -> Self {
        match (self, tag) {
            (Self::Mixed, _) | (_, Tag::Dirty { negative: true, .. }) => Self::Mixed,
            (class, Tag::Number) => class,
            (Self::Number | Self::Exact, Tag::Exact | Tag::Loaded { .. } | Tag::Read { .. }) => {
                Self::Exact
            }
            (Self::Dirty(_), Tag::Exact | Tag::Loaded { .. } | Tag::Read { .. }) => Self::Mixed,
            (Self::Number, Tag::Dirty { lanes, .. }) => Self::Dirty(lanes),
            (Self::Exact, Tag::Dirty { .. }) => Self::Mixed,
            (Self::Dirty(held), Tag::Dirty { lanes, .. }) => {
                if held == lanes {
                    self
                } else {
                    Self::Mixed
                }
            }
        }
    }

    fn join(self, other: Self) -> Self {
        match (self, other) {
            (a, b) if a == b => a,
            (Self::Number, class) | (class, Self::Number) => class,
            _ => Self::Mixed,
        }
    }
}

/// The classes of a function's locals, found by repeated scans.
#[derive(Debug)]
pub(crate) struct Locals {
    /// What the scan may rely on.
    assumed: Vec<Class>,
    /// What the scan found.
    found: Vec<Class>,
}

impl Locals {
    /// `params` come from callers, who hand over exact values; other locals start as zeros.
    pub(crate) fn new(params: usize, locals: usize) -> Self {
        let mut assumed = vec![Class::Exact; params];
        assumed.resize(locals, Class::Number);
        Self { found: assumed.clone(), assumed }
    }

    /// What a read gives.
    pub(crate) fn read(&self, index: u32) -> Class {
        self.assumed.get(index as usize).copied().unwrap_or(Class::Exact)
    }

    /// Notes an assignment. True if the value must be clean.
    pub(crate) fn assign(&mut self, index: u32, tag: Tag) -> bool {
        if let Some(found) = self.found.get_mut(index as usize) {
            *found = found.with(tag);
        }
        !matches!(self.read(index), Class::Dirty(_))
            || matches!(tag, Tag::Dirty { negative: true, .. })
    }

    /// True if the scan found what it relied on. If not, the next one relies on what was found.
    pub(crate) fn settle(&mut self) -> bool {
        let mut settled = true;
        for (assumed, found) in self.assumed.iter_mut().zip(&self.found) {
            let joined = assumed.join(*found);
            settled &= joined == *assumed;
            *assumed = joined;
        }
        self.found.clone_from(&self.assumed);
        settled
    }

    /// Relies on nothing: right whatever the function does.
    pub(crate) fn give_up(&mut self) {
        self.assumed.fill(Class::Mixed);
        self.found.fill(Class::Mixed);
    }
}

/// Whether a value of this type may be a NaN.
pub(crate) fn may_be_nan(ty: ValType) -> bool {
    matches!(ty, ValType::F32 | ValType::F64 | ValType::V128)
}

/// The canonical NaN.
pub(crate) fn nan32(negative: bool) -> Ieee32 {
    Ieee32::new(if negative { 0xffc0_0000 } else { 0x7fc0_0000 })
}

/// The canonical NaN.
pub(crate) fn nan64(negative: bool) -> Ieee64 {
    Ieee64::new(if negative { 0xfff8 << 48 } else { 0x7ff8 << 48 })
}
