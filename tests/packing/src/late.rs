//! Tight loops that store floats: what a pass must not do that makes NaNs canonical for several turns
//! at once would show in what these leave in memory.

use std::fmt::Write as _;

use crate::nan::{Lanes, OPERANDS, operand};

/// Turns of a loop, each in a call of its own.
const TURNS: [usize; 8] = [1, 2, 3, 4, 5, 6, 8, 11];
/// Where the operands are copied to that loops work on.
const WORK: usize = 0x800;

/// A loop, and whether its NaNs may be made canonical late.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// What it is about.
    pub name: &'static str,
    /// Whether it is written in another way than for libraries.
    pub late: bool,
    /// Statements before the loop, inside it, and behind it.
    parts: [&'static str; 3],
}

const fn late(name: &'static str, parts: [&'static str; 3]) -> Case {
    Case { name, late: true, parts }
}

const fn plain(name: &'static str, parts: [&'static str; 3]) -> Case {
    Case { name, late: false, parts }
}

/// `A`, `B` are elements of overlapping arrays, `A1` the one behind `A`; `F` is the type, `I` the
/// integer as wide, `W` the width.
pub const CASES: &[Case] = &[
    late("sum of products", ["", "(SET A (F.add (F.mul (local.get $x) (GET B)) (GET A)))", ""]),
    late("each from the last", ["", "(SET A1 (F.add (F.mul (GET A) (GET B)) (GET A1)))", ""]),
    late("behind each other", ["", "(SET B (F.sub (GET A) (GET B)))", ""]),
    late(
        "the same twice",
        ["", "(SET A (F.sub (GET A) (GET B))) (SET A (F.div (GET A) (F.add (GET A) (GET A1))))", ""],
    ),
    late(
        "a number over a NaN",
        ["", "(SET A1 (F.div (GET A) (GET B))) (SET A (F.convert_i32_u (local.get $n)))", ""],
    ),
    late(
        "a NaN over a number",
        ["", "(SET A (F.convert_i32_u (local.get $n))) (SET A (F.sqrt (GET B)))", ""],
    ),
    late(
        "always one place",
        [
            "",
            "(F.store (i32.const 2048) (F.add (F.load (i32.const 2048)) (GET B))) (SET A (F.mul (GET A) (GET B)))",
            "",
        ],
    ),
    late("negative", ["", "(SET A (F.neg (F.div (GET A) (GET B))))", ""]),
    late("rounded", ["", "(SET A (F.floor (F.abs (GET B))))", ""]),
    late("smallest", ["", "(SET A1 (F.min (F.neg (GET A)) (F.abs (GET B))))", ""]),
    late(
        "left between stores",
        [
            "(local.set $k (i32.and (i32.shr_u (local.get $n) (i32.const 1)) (i32.const 3)))",
            "(SET A (F.add (GET A) (GET B))) (br_if $out (i32.eq (local.get $n) (local.get $k))) (SET A1 (F.mul (GET A) (GET B)))",
            "",
        ],
    ),
    late(
        "left before stores",
        ["", "(br_if $out (i32.eq (local.get $n) (i32.const 2))) (SET A1 (F.mul (GET A) (GET B)))", ""],
    ),
    late(
        "left by what is loaded",
        ["", "(SET A1 (F.mul (GET A) (GET B))) (br_if $out (F.lt (GET A1) (GET B)))", ""],
    ),
    late(
        "left with a value",
        [
            "",
            "(SET A1 (F.mul (GET A) (GET B))) (local.set $sum (block $with (result i64) (i64.const 0))) (drop (br_if $early (i64.const 5) (i32.eq (local.get $n) (i32.const 3))))",
            "",
        ],
    )
    .unless(),
    late(
        "returning",
        [
            "",
            "(SET A1 (F.mul (GET A) (GET B))) (drop (br_if $early (i64.const 5) (i32.eq (local.get $n) (i32.const 3)))) (SET A (F.sub (GET A1) (GET A)))",
            "",
        ],
    ),
    late(
        "carried",
        [
            "(local.set $x (GET A))",
            "(SET A1 (F.add (local.get $x) (F.add (GET B) (local.tee $y (GET A1))))) (local.set $x (local.get $y))",
            "",
        ],
    ),
    late(
        "carried and computed with",
        [
            "",
            "(SET A1 (F.add (local.get $x) (GET B))) (local.set $x (GET A1))",
            "(SET A (F.add (local.get $x) (GET A)))",
        ],
    ),
    late(
        "seen before only",
        [
            "(local.set $x (GET B)) (SET A (local.get $x))",
            "(SET A1 (F.add (local.get $x) (GET B))) (local.set $x (GET A1))",
            "",
        ],
    ),
    late(
        "computed sums",
        [
            "",
            "(local.set $y (F.add (local.get $y) (GET A))) (SET A1 (F.sub (GET B) (local.get $y)))",
            "(SET A (local.get $y))",
        ],
    ),
    late(
        "compared",
        [
            "",
            "(SET A1 (F.sub (GET A) (GET B))) (local.set $sum (i64.add (i64.shl (local.get $sum) (i64.const 1)) (i64.extend_i32_u (F.ne (GET A1) (GET B)))))",
            "",
        ],
    ),
    late(
        "converted",
        [
            "",
            "(SET A1 (F.sub (GET A) (GET B))) (local.set $sum (i64.xor (local.get $sum) (i64.trunc_sat_F_s (GET A1))))",
            "",
        ],
    ),
    late(
        "backwards",
        [
            "(local.set $p (i32.const 128))",
            "(F.store offset=2048 (local.get $p) (F.mul (F.load offset=2056 (local.get $p)) (GET B))) (local.set $p (i32.sub (local.get $p) (i32.const W)))",
            "",
        ],
    ),
    late(
        "indexed",
        [
            "",
            "(F.store offset=2048 (i32.shl (local.get $k) (i32.const 3)) (F.mul (GET A) (F.load offset=2064 (i32.mul (i32.const 8) (local.get $k))))) (local.set $k (i32.add (local.get $k) (i32.const 1)))",
            "",
        ],
    ),
    late(
        "half of another",
        [
            "(local.set $p (i32.add (local.get $i) (i32.div_u (i32.const W) (i32.const 2))))",
            "(SET A (F.div (GET A) (GET B))) (F.store offset=3000 (local.get $i) (F.add (F.load offset=2048 (local.get $p)) (GET B))) (local.set $p (i32.add (local.get $p) (i32.const W)))",
            "",
        ],
    ),
    late(
        "beside a multiple",
        [
            "(local.set $i (i32.const 2))",
            "(SET A (F.div (GET A) (GET B))) (F.store offset=3000 (local.get $i) (F.sqrt (F.load offset=2049 (local.get $i))))",
            "",
        ],
    ),
    plain(
        "steps of less than the width",
        [
            "",
            "(F.store offset=2048 (local.get $p) (F.div (F.load offset=2064 (local.get $p)) (GET B))) (SET A (F.sqrt (F.load offset=2048 (local.get $p)))) (local.set $p (i32.add (local.get $p) (i32.const 2)))",
            "",
        ],
    ),
    plain(
        "stored behind the loop",
        [
            "",
            "(SET A1 (F.add (local.get $x) (GET B))) (local.set $x (GET A1))",
            "(F.store (i32.const 2048) (local.get $x))",
        ],
    ),
    plain(
        "moved and stored behind the loop",
        [
            "",
            "(SET A1 (F.add (GET A) (GET B))) (local.set $y (GET A1)) (local.set $x (local.get $y))",
            "(F.store (i32.const 2048) (F.neg (local.get $x)))",
        ],
    ),
    plain(
        "seen behind the loop",
        [
            "",
            "(SET A1 (F.add (GET A) (GET B))) (local.set $x (GET A1))",
            "(local.set $sum (i64.extend_I (I.reinterpret_F (local.get $x))))",
        ],
    ),
    plain("copied", ["", "(SET A1 (F.add (GET A) (GET B))) (SET B (GET A1))", ""]),
    plain("copied by a local", ["", "(SET A1 (F.add (GET A) (GET B))) (SET B (local.tee $x (GET A1)))", ""]),
    plain("sign flipped", ["", "(SET A1 (F.add (GET A) (GET B))) (SET B (F.neg (GET A1)))", ""]),
    plain("sign cleared", ["", "(SET A1 (F.add (GET A) (GET B))) (SET B (F.abs (GET A1)))", ""]),
    plain("sign copied", ["", "(SET A1 (F.add (GET A) (F.copysign (F.const 1) (GET A))))", ""]),
    plain("chosen", ["", "(SET A1 (F.add (GET B) (select (GET A) (local.get $x) (local.get $k))))", ""]),
    plain("signs of both kinds", ["", "(SET A1 (F.add (GET A) (GET B))) (SET B (F.neg (F.mul (GET A) (GET B))))", ""]),
    plain(
        "seen in the loop",
        [
            "",
            "(SET A1 (F.add (GET A) (GET B))) (local.set $sum (i64.add (local.get $sum) (i64.extend_I (I.reinterpret_F (GET A1)))))",
            "",
        ],
    ),
    plain(
        "loaded as an integer",
        [
            "",
            "(SET A1 (F.add (GET A) (GET B))) (local.set $sum (i64.xor (local.get $sum) (i64.load offset=2048 (local.get $i))))",
            "",
        ],
    ),
    plain(
        "an integer over a float",
        ["", "(SET A1 (F.add (GET A) (GET B))) (i32.store8 offset=2049 (local.get $i) (i32.const 255))", ""],
    ),
    plain(
        "bits over a float",
        ["", "(SET A1 (F.add (GET A) (GET B))) (I.store offset=2048 (local.get $i) (I.const -3))", ""],
    ),
    plain("a NaN's bits over a float", ["", "(SET A1 (F.add (GET A) (GET B))) (SET A (F.const -nan:0x123))", ""]),
    plain("global", ["", "(SET A1 (F.add (GET A) (GET B))) (global.set $g (GET A1))", ""]),
    plain("call", ["", "(SET A1 (F.add (GET A) (GET B))) (local.set $x (call $same (GET A1)))", ""]),
    plain(
        "moved by bytes",
        ["", "(SET A1 (F.add (GET A) (GET B))) (memory.copy (i32.const 3000) (i32.const 2048) (i32.const 64))", ""],
    ),
    plain(
        "of other widths",
        [
            "",
            "(SET A1 (F.add (GET A) (GET B))) (local.set $wide (f64.add (local.get $wide) (f64.load offset=2052 (local.get $i)))) (local.set $narrow (f32.add (local.get $narrow) (f32.load offset=2052 (local.get $i))))",
            "(f64.store (i32.const 3000) (local.get $wide)) (f32.store (i32.const 3008) (local.get $narrow))",
        ],
    ),
    plain(
        "stored at times",
        ["", "(if (i32.and (local.get $n) (i32.const 1)) (then (SET A1 (F.add (GET A) (GET B)))))", ""],
    ),
    plain(
        "begun again",
        [
            "",
            "(local.set $i (i32.add (local.get $i) (i32.const W))) (SET A1 (F.add (GET A) (GET B))) (br_if $turn (i32.and (local.tee $n (i32.sub (local.get $n) (i32.const 1))) (i32.const 1))) (br_if $out (i32.le_s (local.get $n) (i32.const 1))) (SET A (F.mul (GET A1) (GET B)))",
            "",
        ],
    ),
    plain("nothing computed", ["", "(SET A (GET B))", ""]),
];

impl Case {
    /// The other way round.
    const fn unless(self) -> Case {
        Case { late: false, ..self }
    }

    /// Its module, of floats of 8 bytes or of 4: each export runs one number of turns on operands
    /// that begin at one place.
    pub fn module(&self, wide: bool) -> Vec<u8> {
        let (float, int, width, of) =
            if wide { ("f64", "i64", 8, Lanes::F64) } else { ("f32", "i32", 4, Lanes::F32) };
        let [before, inside, behind] = self.parts.map(|part| statements(part, float, int, width));
        let mut text = String::from("(module (memory (export \"memory\") 1 1)\n");
        let bytes: String = (0..2 * OPERANDS)
            .flat_map(|i| operand(of, i % OPERANDS).to_le_bytes().into_iter().take(width))
            .map(|byte| format!("\\{byte:02x}"))
            .collect();
        let length = OPERANDS * width;
        let _ = writeln!(
            text,
            "(data (i32.const 0) \"{bytes}\")
            (global $g (mut {float}) ({float}.const 0))
            (func $same (param {float}) (result {float}) (local.get 0))
            (func $loop (param $n i32) (result i64)
              (local $i i32) (local $k i32) (local $p i32) (local $sum i64)
              (local $x {float}) (local $y {float}) (local $wide f64) (local $narrow f32)
              (block $early (result i64)
                (block $out
                  {before}
                  (loop $turn
                    {inside}
                    (local.set $i (i32.add (local.get $i) (i32.const {width})))
                    (br_if $turn (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
                {behind}
                (i64.add (local.get $sum) (i64.load (i32.const {WORK})))))
            (func $reset (param $from i32)"
        );
        for part in 0..4 {
            let to = WORK + part * length;
            let _ = writeln!(
                text,
                "(memory.copy (i32.const {to}) (local.get $from) (i32.const {length}))"
            );
        }
        text.push_str(")\n");
        for turns in TURNS {
            for from in (0..OPERANDS).filter(|from| (from + turns) % 2 == 0) {
                let _ = writeln!(
                    text,
                    "(func (export \"{turns} from {from}\") (result i64)
                      (call $reset (i32.const {})) (call $loop (i32.const {turns})))",
                    from * width
                );
            }
        }
        text.push(')');
        wat::parse_str(&text).unwrap_or_else(|e| panic!("{}: {e}\n{text}", self.name))
    }
}

fn statements(part: &str, float: &str, int: &str, width: usize) -> String {
    let place = |behind: usize| format!("offset={} (local.get $i)", WORK + behind * width);
    part.replace("GET ", &format!("{float}.load "))
        .replace("SET ", &format!("{float}.store "))
        .replace(" A1", &format!(" {}", place(1)))
        .replace(" A", &format!(" {}", place(0)))
        .replace(" B", &format!(" {}", place(5)))
        .replace("trunc_sat_F", &format!("trunc_sat_{float}"))
        .replace("i64.extend_I", if width == 8 { "i64.clz" } else { "i64.extend_i32_u" })
        .replace("_F ", &format!("_{float} "))
        .replace("(F.", &format!("({float}."))
        .replace("(I.", &format!("({int}."))
        .replace("const W)", &format!("const {width})"))
}
