//! The types of a module, and those that packing adds behind them.

use alloc::{collections::BTreeMap, vec::Vec};

use wasm_encoder::{BlockType, Encode};
use wasmparser::ValType;

type Signature = (Vec<ValType>, Vec<ValType>);

/// Function types by content, in the order of their indices.
#[derive(Debug, Default)]
pub(crate) struct TypeList {
    signatures: Vec<Signature>,
    index: BTreeMap<Signature, u32>,
    /// How many the module has itself.
    own: usize,
}

impl TypeList {
    /// Notes a type of the module itself; to be called in order, before any is added.
    pub(crate) fn own(&mut self, params: &[ValType], results: &[ValType]) {
        let signature = (params.to_vec(), results.to_vec());
        self.index.entry(signature.clone()).or_insert(self.signatures.len() as u32);
        self.signatures.push(signature);
        self.own = self.signatures.len();
    }

    /// The index of a type, added if the module lacks it.
    pub(crate) fn get(&mut self, params: &[ValType], results: &[ValType]) -> u32 {
        let signature = (params.to_vec(), results.to_vec());
        let next = self.signatures.len() as u32;
        let index = *self.index.entry(signature.clone()).or_insert(next);
        if index == next {
            self.signatures.push(signature);
        }
        index
    }

    /// The type of a block that gives `results`.
    pub(crate) fn results(&mut self, results: &[ValType]) -> BlockType {
        match *results {
            [] => BlockType::Empty,
            [result] => BlockType::Result(encoded(result)),
            _ => BlockType::FunctionType(self.get(&[], results)),
        }
    }

    /// The type of a block that takes and gives what a branch to the label of a block of type
    /// `block` carries; `back` if that block is a loop.
    pub(crate) fn label(&mut self, block: wasmparser::BlockType, back: bool) -> BlockType {
        let carried = match block {
            wasmparser::BlockType::Empty => return BlockType::Empty,
            wasmparser::BlockType::Type(_) if back => return BlockType::Empty,
            wasmparser::BlockType::Type(ty) => alloc::vec![ty],
            wasmparser::BlockType::FuncType(index) => match self.signatures.get(index as usize) {
                Some((params, _)) if back => params.clone(),
                Some((_, results)) => results.clone(),
                None => return BlockType::Empty,
            },
        };
        match carried.as_slice() {
            [] => BlockType::Empty,
            carried => BlockType::FunctionType(self.get(carried, carried)),
        }
    }

    /// Types that were added, as the items of a type section, and their number.
    pub(crate) fn added(&self) -> (u32, Vec<u8>) {
        let added = self.signatures.get(self.own..).unwrap_or_default();
        let mut out = Vec::new();
        for (params, results) in added {
            out.push(0x60);
            for side in [params, results] {
                (side.len() as u32).encode(&mut out);
                side.iter().for_each(|ty| encoded(*ty).encode(&mut out));
            }
        }
        (added.len() as u32, out)
    }
}

/// The encoder's name for a type. Guests have no references but to functions.
pub(crate) fn encoded(ty: ValType) -> wasm_encoder::ValType {
    match ty {
        ValType::I32 => wasm_encoder::ValType::I32,
        ValType::I64 => wasm_encoder::ValType::I64,
        ValType::F32 => wasm_encoder::ValType::F32,
        ValType::F64 => wasm_encoder::ValType::F64,
        ValType::V128 => wasm_encoder::ValType::V128,
        ValType::Ref(_) => wasm_encoder::ValType::FUNCREF,
    }
}
