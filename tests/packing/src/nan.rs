//! A module that shows what becomes of NaNs: every float instruction on every kind of NaN, through
//! every way that a value can take to where its bits are seen.

use std::fmt::Write as _;

/// Bits of f32 operands: NaNs quiet and signalling, of both signs, and what makes NaNs.
const F32: [u32; 18] = [
    0x7fc0_0000,
    0xffc0_0000,
    0x7fa0_0000,
    0xffa0_0001,
    0x7f80_0001,
    0xff80_0001,
    0x7fff_ffff,
    0xffff_ffff,
    0x7fc1_2345,
    0xffe0_0000,
    0x0000_0000,
    0x8000_0000,
    0x3f80_0000,
    0xbf80_0000,
    0x7f80_0000,
    0xff80_0000,
    0x0000_0001,
    0x4049_0fdb,
];

/// The same for f64. The last but two are boxed pointers, as interpreters keep them.
const F64: [u64; 18] = [
    0x7ff8_0000_0000_0000,
    0xfff8_0000_0000_0000,
    0x7ff4_0000_0000_0000,
    0xfff4_0000_0000_0001,
    0x7ff0_0000_0000_0001,
    0xfff0_0000_0000_0001,
    0x7fff_ffff_ffff_ffff,
    0xffff_ffff_ffff_ffff,
    0x7ff8_1234_5678_9abc,
    0xfffc_0000_0000_0000,
    0x0000_0000_0000_0000,
    0x8000_0000_0000_0000,
    0x3ff0_0000_0000_0000,
    0xbff0_0000_0000_0000,
    0x7ff0_0000_0000_0000,
    0xfffe_0000_dead_beef,
    0xfff9_0000_0001_0008,
    0xfff0_0000_0000_0000,
];

/// Operands in each table.
pub const OPERANDS: usize = 18;
/// Bytes of one operand or result.
pub const SLOT: usize = 16;
/// Where results begin, way after way.
pub const RESULTS: usize = 1 << 16;
/// Bytes of all results of one way.
pub const WAY: usize = OPERANDS * OPERANDS * SLOT;

/// The type of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lanes {
    /// No float: bits must be the same everywhere.
    Int,
    /// One f32.
    F32,
    /// One f64.
    F64,
    /// Four f32.
    F32x4,
    /// Two f64.
    F64x2,
}

impl Lanes {
    fn wat(self) -> &'static str {
        match self {
            Lanes::Int => "i32",
            Lanes::F32 => "f32",
            Lanes::F64 => "f64",
            Lanes::F32x4 | Lanes::F64x2 => "v128",
        }
    }

    fn zero(self) -> String {
        match self {
            Lanes::F32x4 | Lanes::F64x2 => "(v128.const i64x2 0 0)".into(),
            scalar => format!("({}.const 0)", scalar.wat()),
        }
    }
}

/// What an instruction does to the bits of NaNs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bits {
    /// It computes: NaNs it returns are canonical.
    Computed,
    /// It moves bits, or works on the sign alone.
    Kept,
    /// Several of both: only the reference says.
    Mixed,
}

/// One expression over two operands.
#[derive(Debug, Clone)]
pub struct Op {
    /// What it is called in reports.
    pub name: String,
    /// Its result.
    pub lanes: Lanes,
    /// What it does to NaNs.
    pub bits: Bits,
    expression: String,
}

/// The expressions of the module, in the order of its exports.
pub fn ops() -> Vec<Op> {
    let mut ops = Vec::new();
    let mut op = |lanes, bits, expression: &str| {
        let loaded = |operand: &str, ty: &str| format!("({ty}.load (local.get ${operand}))");
        let (scalar, vector) = match lanes {
            Lanes::F32 | Lanes::F32x4 | Lanes::Int => ("f32", "v128"),
            Lanes::F64 | Lanes::F64x2 => ("f64", "v128"),
        };
        let text = expression
            .replace("VA", &loaded("a", vector))
            .replace("VB", &loaded("b", vector))
            .replace("WA", &loaded("wide_a", "f64"))
            .replace("WB", &loaded("wide_b", "f64"))
            .replace("NA", &loaded("narrow_a", "f32"))
            .replace("NB", &loaded("narrow_b", "f32"))
            .replace("UA", &loaded("wide_a", "v128"))
            .replace("MA", &loaded("narrow_a", "v128"))
            .replace("SA", &loaded("a", scalar))
            .replace("SB", &loaded("b", scalar));
        let name = format!("{} {expression}", ops.len());
        ops.push(Op { name, lanes, bits, expression: text });
    };
    for (lanes, shape, a, b) in [
        (Lanes::F32, "f32", "SA", "SB"),
        (Lanes::F64, "f64", "SA", "SB"),
        (Lanes::F32x4, "f32x4", "VA", "VB"),
        (Lanes::F64x2, "f64x2", "VA", "VB"),
    ] {
        op(lanes, Bits::Kept, a);
        for name in ["sqrt", "ceil", "floor", "trunc", "nearest"] {
            op(lanes, Bits::Computed, &format!("({shape}.{name} {a})"));
        }
        for name in ["add", "sub", "mul", "div", "min", "max"] {
            op(lanes, Bits::Computed, &format!("({shape}.{name} {a} {b})"));
            op(lanes, Bits::Mixed, &format!("({shape}.neg ({shape}.{name} {a} {b}))"));
        }
        for name in ["abs", "neg"] {
            op(lanes, Bits::Kept, &format!("({shape}.{name} {a})"));
        }
        op(lanes, Bits::Mixed, &format!("({shape}.abs ({shape}.neg ({shape}.div {a} {b})))"));
        op(lanes, Bits::Mixed, &format!("(select ({shape}.div {a} {b}) {a} (local.get $flip))"));
        op(
            lanes,
            Bits::Mixed,
            &format!("(select {a} ({shape}.neg ({shape}.mul {a} {b})) (local.get $flip))"),
        );
        op(
            lanes,
            Bits::Computed,
            &format!("({shape}.add ({shape}.sub {a} {b}) ({shape}.mul {a} {b}))"),
        );
    }
    for shape in ["f32", "f64"] {
        let lanes = if shape == "f32" { Lanes::F32 } else { Lanes::F64 };
        let int = if shape == "f32" { "i32" } else { "i64" };
        op(lanes, Bits::Kept, &format!("({shape}.copysign SA SB)"));
        op(lanes, Bits::Mixed, &format!("({shape}.copysign SA ({shape}.div SA SB))"));
        op(lanes, Bits::Mixed, &format!("({shape}.copysign ({shape}.sub SA SB) SB)"));
        op(
            lanes,
            Bits::Kept,
            &format!("({shape}.reinterpret_{int} ({int}.reinterpret_{shape} SA))"),
        );
        op(
            lanes,
            Bits::Mixed,
            &format!("({shape}.reinterpret_{int} ({int}.reinterpret_{shape} ({shape}.mul SA SB)))"),
        );
    }
    op(Lanes::F32, Bits::Computed, "(f32.demote_f64 WA)");
    op(Lanes::F64, Bits::Computed, "(f64.promote_f32 NA)");
    op(Lanes::F32, Bits::Mixed, "(f32.demote_f64 (f64.neg (f64.add WA WB)))");
    op(Lanes::F64, Bits::Mixed, "(f64.neg (f64.promote_f32 (f32.mul NA NB)))");
    op(Lanes::F32x4, Bits::Computed, "(f32x4.demote_f64x2_zero UA)");
    op(Lanes::F64x2, Bits::Computed, "(f64x2.promote_low_f32x4 MA)");
    for (lanes, shape, scalar, last) in
        [(Lanes::F32x4, "f32x4", "f32", 3), (Lanes::F64x2, "f64x2", "f64", 1)]
    {
        let single = if scalar == "f32" { Lanes::F32 } else { Lanes::F64 };
        let bits = if scalar == "f32" { 32 } else { 64 };
        for name in ["pmin", "pmax"] {
            op(lanes, Bits::Kept, &format!("({shape}.{name} VA VB)"));
            op(lanes, Bits::Mixed, &format!("({shape}.{name} ({shape}.div VA VB) VB)"));
            op(lanes, Bits::Mixed, &format!("({shape}.{name} VA ({shape}.sub VA VB))"));
        }
        op(lanes, Bits::Kept, &format!("({shape}.splat SA)"));
        op(lanes, Bits::Computed, &format!("({shape}.splat ({scalar}.div SA SB))"));
        op(single, Bits::Kept, &format!("({shape}.extract_lane {last} VA)"));
        op(single, Bits::Computed, &format!("({shape}.extract_lane {last} ({shape}.mul VA VB))"));
        op(lanes, Bits::Kept, &format!("({shape}.replace_lane {last} VA SB)"));
        op(lanes, Bits::Mixed, &format!("({shape}.replace_lane {last} VA ({scalar}.sub SA SB))"));
        op(lanes, Bits::Mixed, &format!("({shape}.replace_lane 0 ({shape}.sub VA VB) SA)"));
        op(lanes, Bits::Kept, "(i8x16.shuffle 4 5 6 7 0 1 2 3 24 25 26 27 28 29 30 31 VA VB)");
        op(
            lanes,
            Bits::Mixed,
            &format!(
                "(i8x16.shuffle 4 5 6 7 0 1 2 3 24 25 26 27 28 29 30 31 ({shape}.div VA VB) VB)"
            ),
        );
        op(lanes, Bits::Mixed, &format!("(v128.xor ({shape}.div VA VB) VA)"));
        op(lanes, Bits::Mixed, &format!("(v128.bitselect ({shape}.div VA VB) VA VB)"));
        op(lanes, Bits::Mixed, &format!("(i32x4.add ({shape}.add VA VB) VB)"));
        op(lanes, Bits::Mixed, &format!("({shape}.eq ({shape}.div VA VB) VA)"));
        op(lanes, Bits::Kept, &format!("(v128.load{bits}_splat (local.get $a))"));
        op(lanes, Bits::Kept, &format!("(v128.load{bits}_zero (local.get $b))"));
        op(lanes, Bits::Kept, &format!("(v128.load{bits}_lane {last} (local.get $b) VA)"));
    }
    op(Lanes::Int, Bits::Mixed, "(f32.lt (f32.div SA SB) SA)");
    op(Lanes::Int, Bits::Mixed, "(f64.ne (f64.div WA WB) WA)");
    op(Lanes::Int, Bits::Mixed, "(i32.reinterpret_f32 (f32.sub SA SB))");
    op(
        Lanes::Int,
        Bits::Mixed,
        "(i32.wrap_i64 (i64.shr_u (i64.reinterpret_f64 (f64.sub WA WB)) (i64.const 32)))",
    );
    op(Lanes::Int, Bits::Mixed, "(i32.trunc_sat_f32_s (f32.sub SA SB))");
    op(Lanes::Int, Bits::Mixed, "(i8x16.bitmask (f32x4.div VA VB))");
    op(Lanes::Int, Bits::Mixed, "(i32x4.extract_lane 1 (f64x2.div UA UA))");
    ops
}

/// The ways that a value takes before it is stored.
pub const WAYS: &[&str] = &[
    "direct",
    "local",
    "tee",
    "parameter",
    "select",
    "typed select",
    "block",
    "br",
    "br_if",
    "br_if kept",
    "br_table",
    "if",
    "else",
    "loop",
    "loop parameter",
    "argument",
    "result",
    "indirect",
    "tail call",
    "global",
    "memory",
    "several results",
    "twice",
];

/// Statements, then the expression that has taken the way of this name.
fn way(name: &str, op: usize, lanes: Lanes, value: &str) -> (String, String) {
    let (ty, zero) = (lanes.wat(), lanes.zero());
    let operands =
        OPERAND_NAMES.iter().map(|operand| format!("(local.get ${operand})")).collect::<String>();
    let expression = match name {
        "direct" => value.into(),
        "local" => return (format!("(local.set $x {value})"), "(local.get $x)".into()),
        "tee" => return (format!("(drop (local.tee $x {value}))"), "(local.get $x)".into()),
        "parameter" => format!("(call $through_{ty} {zero} {value})"),
        "select" => format!("(select {value} {zero} (local.get $one))"),
        "typed select" => {
            format!("(select (result {ty}) {zero} {value} (i32.eqz (local.get $one)))")
        }
        "block" => format!("(block (result {ty}) {value})"),
        "br" => format!("(block (result {ty}) (br 0 {value}))"),
        "br_if" => {
            format!("(block (result {ty}) (br_if 0 {value} (local.get $one)) (drop) {zero})")
        }
        "br_if kept" => {
            format!("(block (result {ty}) (br_if 0 {value} (i32.eqz (local.get $one))))")
        }
        "br_table" => format!(
            "(block (result {ty}) (drop (block (result {ty}) (br_table 0 1 0 {value} (local.get $one)))) {zero})"
        ),
        "if" => format!("(if (result {ty}) (local.get $one) (then {value}) (else {zero}))"),
        "else" => {
            format!("(if (result {ty}) (i32.eqz (local.get $one)) (then {zero}) (else {value}))")
        }
        "loop" => {
            let body = format!("(local.set $n (i32.const 3)) (loop $turn (local.set $x {value})");
            let turn = "(br_if $turn (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))";
            return (format!("{body} {turn}"), "(local.get $x)".into());
        }
        "loop parameter" => format!("{value} (loop (param {ty}) (result {ty}))"),
        "argument" => format!("(call $same_{ty} {value})"),
        "result" => format!("(call $value_{op} {operands})"),
        "indirect" => {
            format!("(call_indirect (type $same_{ty}) {value} (i32.const {}))", indirect(lanes))
        }
        "tail call" => format!("(call $tail_{op} {operands})"),
        "global" => {
            return (format!("(global.set $g_{ty} {value})"), format!("(global.get $g_{ty})"));
        }
        "memory" => {
            let store = format!("({ty}.store (i32.const 32) {value})");
            return (store, format!("({ty}.load (i32.const 32))"));
        }
        "several results" => {
            let call = format!("(call $swap_{ty} {value} {zero}) (local.set $x) (drop)");
            return (call, "(local.get $x)".into());
        }
        "twice" => {
            let first =
                format!("(local.set $x {value}) (local.set $x (call $same_{ty} (local.get $x)))");
            return (first, format!("(select (local.get $x) {value} (local.get $one))"));
        }
        other => unreachable!("no way {other}"),
    };
    (String::new(), expression)
}

const OPERAND_NAMES: [&str; 8] =
    ["a", "b", "wide_a", "wide_b", "narrow_a", "narrow_b", "one", "flip"];
const TYPES: [&str; 4] = ["i32", "f32", "f64", "v128"];

fn indirect(lanes: Lanes) -> usize {
    TYPES.iter().position(|ty| *ty == lanes.wat()).expect("every type has a function")
}

fn bytes(bytes: impl IntoIterator<Item = u8>) -> String {
    bytes.into_iter().map(|byte| format!("\\{byte:02x}")).collect()
}

/// The module: one exported function for each expression, which fills the results of all ways.
pub fn module() -> Vec<u8> {
    let mut text = String::from("(module (memory (export \"memory\") 4)\n");
    let (narrow, wide) = (1024, 2048);
    let narrow_data =
        (0..OPERANDS).flat_map(|i| [0, 1, 5, 9].map(|n| F32[(i + n) % OPERANDS].to_le_bytes()));
    let wide_data =
        (0..OPERANDS).flat_map(|i| [0, 3].map(|n| F64[(i + n) % OPERANDS].to_le_bytes()));
    let _ = writeln!(text, "(data (i32.const {narrow}) \"{}\")", bytes(narrow_data.flatten()));
    let _ = writeln!(text, "(data (i32.const {wide}) \"{}\")", bytes(wide_data.flatten()));
    for ty in TYPES {
        let zero =
            if ty == "v128" { "(v128.const i64x2 0 0)".into() } else { format!("({ty}.const 0)") };
        let _ = writeln!(
            text,
            "(type $same_{ty} (func (param {ty}) (result {ty})))
            (func $same_{ty} (type $same_{ty}) (local.get 0))
            (func $through_{ty} (param {ty} {ty}) (result {ty}) (local.set 0 (local.get 1)) (return (local.get 0)))
            (func $swap_{ty} (param {ty} {ty}) (result {ty} {ty}) (local.get 1) (local.get 0))
            (global $g_{ty} (mut {ty}) {zero})"
        );
    }
    let params =
        OPERAND_NAMES.iter().map(|name| format!("(param ${name} i32)")).collect::<String>();
    let mut table = TYPES.map(|ty| format!("$same_{ty}")).to_vec();
    for (index, op) in ops().iter().enumerate() {
        let (ty, value) = (op.lanes.wat(), &op.expression);
        let _ = writeln!(
            text,
            "(func $value_{index} {params} (result {ty}) (return {value}))
            (func $tail_{index} {params} (result {ty}) (return_call $same_{ty} {value}))"
        );
        let first = table.len();
        for (number, name) in WAYS.iter().enumerate() {
            let (statements, expression) = way(name, index, op.lanes, value);
            // Folded expressions that leave their operand outside need the address first.
            let _ = writeln!(
                text,
                "(func $f{index}_{number} {params} (param $out i32) (local $x {ty}) (local $n i32)
                {statements} local.get $out {expression} {ty}.store)"
            );
            table.push(format!("$f{index}_{number}"));
        }
        let own = if matches!(op.lanes, Lanes::F64 | Lanes::F64x2) { wide } else { narrow };
        let _ = writeln!(
            text,
            "(func (export \"{}\") (call $each (i32.const {first}) (i32.const {own})))",
            op.name
        );
    }
    let _ = writeln!(text, "(table funcref (elem {}))", table.join(" "));
    let address = |base: &str, operand: &str| {
        format!("(i32.add {base} (i32.mul (local.get ${operand}) (i32.const {SLOT})))")
    };
    let _ = writeln!(
        text,
        "(type $f (func {params} (param i32)))
        (func $each (param $first i32) (param $own i32) (local $way i32) (local $i i32) (local $j i32) (local $out i32)
          (local.set $out (i32.const {RESULTS}))
          (loop $ways
            (local.set $i (i32.const 0))
            (loop $is
              (local.set $j (i32.const 0))
              (loop $js
                (call_indirect (type $f)
                  {} {} {} {} {} {}
                  (i32.const 1) (i32.and (i32.add (local.get $i) (local.get $j)) (i32.const 1)) (local.get $out)
                  (i32.add (local.get $first) (local.get $way)))
                (local.set $out (i32.add (local.get $out) (i32.const {SLOT})))
                (br_if $js (i32.lt_u (local.tee $j (i32.add (local.get $j) (i32.const 1))) (i32.const {OPERANDS}))))
              (br_if $is (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const {OPERANDS}))))
            (br_if $ways (i32.lt_u (local.tee $way (i32.add (local.get $way) (i32.const 1))) (i32.const {})))))",
        address("(local.get $own)", "i"),
        address("(local.get $own)", "j"),
        address(&format!("(i32.const {wide})"), "i"),
        address(&format!("(i32.const {wide})"), "j"),
        address(&format!("(i32.const {narrow})"), "i"),
        address(&format!("(i32.const {narrow})"), "j"),
        WAYS.len(),
    );
    text.push(')');
    wat::parse_str(&text).expect("the generated text is valid")
}

/// Lanes of a result as wide numbers, with whether each is a NaN, and the canonical one.
pub fn lanes(of: Lanes, slot: &[u8]) -> Vec<(u64, bool, u64)> {
    let narrow = |bits: u32| (u64::from(bits), f32::from_bits(bits).is_nan(), 0x7fc0_0000);
    let wide = |bits: u64| (bits, f64::from_bits(bits).is_nan(), 0x7ff8_0000_0000_0000);
    let narrows =
        slot.chunks_exact(4).map(|b| narrow(u32::from_le_bytes(b.try_into().expect("four bytes"))));
    let wides =
        slot.chunks_exact(8).map(|b| wide(u64::from_le_bytes(b.try_into().expect("eight bytes"))));
    match of {
        Lanes::Int => narrows.take(1).map(|(bits, _, _)| (bits, false, 0)).collect(),
        Lanes::F32 => narrows.take(1).collect(),
        Lanes::F32x4 => narrows.collect(),
        Lanes::F64 => wides.take(1).collect(),
        Lanes::F64x2 => wides.collect(),
    }
}

/// The bits of operand `i` of the table that results of this type are made from.
pub fn operand(of: Lanes, i: usize) -> u64 {
    match of {
        Lanes::F64 | Lanes::F64x2 => F64[i],
        _ => u64::from(F32[i]),
    }
}
