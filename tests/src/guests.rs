//! Small guests with one habit each, as WebAssembly text; tests compile them with `wat`.

/// Imports and memory that most of them have. `$buffer` starts at 1024.
const HEAD: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 2)
  (func $take (result i32)
    (i32.store (i32.const 0) (i32.const 1024))
    (i32.store (i32.const 4) (i32.const 65536))
    (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
    (i32.load (i32.const 8)))
  (func $say (param $count i32)
    (i32.store (i32.const 0) (i32.const 1024))
    (i32.store (i32.const 4) (local.get $count))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
"#;

fn guest(start: &str) -> String {
    format!("{HEAD}(func (export \"_start\")\n{start}))")
}

/// Writes what it reads.
pub fn echo() -> String {
    guest("(call $say (call $take))")
}

/// Writes the first bytes of what it reads, as many as the first byte says beyond `0`; then traps
/// on an input that begins with `t`, loops for ever on `l`, floods on `o`, eats memory on `m`, ends
/// with code 7 on `e`, and with code 0 on everything else.
pub fn moody() -> String {
    guest(
        r#"(local $first i32)
    (drop (call $take))
    (local.set $first (i32.load8_u (i32.const 1024)))
    (call $say (i32.const 1))
    (if (i32.eq (local.get $first) (i32.const 116)) (then (unreachable)))
    (if (i32.eq (local.get $first) (i32.const 108)) (then (loop $for_ever (br $for_ever))))
    (if (i32.eq (local.get $first) (i32.const 111))
      (then (loop $flood (call $say (i32.const 60000)) (br $flood))))
    (if (i32.eq (local.get $first) (i32.const 109))
      (then (loop $more
        (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then (unreachable)))
        (i32.store (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 8)) (i32.const 1))
        (br $more))))
    (if (i32.eq (local.get $first) (i32.const 101)) (then (call $exit (i32.const 7))))"#,
    )
}

/// Works for a while, then writes what it read: `steps` turns of an empty loop.
pub fn slow_echo(steps: u64) -> String {
    guest(&format!(
        r#"(local $left i64) (local $count i32)
    (local.set $count (call $take))
    (local.set $left (i64.const {steps}))
    (loop $turn
      (local.set $left (i64.sub (local.get $left) (i64.const 1)))
      (br_if $turn (i64.ne (local.get $left) (i64.const 0))))
    (call $say (local.get $count))"#
    ))
}

/// The same, with so many bytes in the module that serve for nothing and cannot be compressed.
pub fn padded_echo(steps: u64, bytes: usize) -> String {
    let mut mixed = steps;
    let padding: String = (0..bytes)
        .map(|_| {
            mixed = mixed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            format!("\\{:02x}", mixed >> 56)
        })
        .collect();
    let mut text = slow_echo(steps);
    text.pop();
    text + &format!("\n(data (i32.const 70000) \"{padding}\"))")
}

/// Writes what stands in `/data/table`.
pub fn reader() -> String {
    r#"(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 100) "table")
  (func (export "_start")
    (if (call $open (i32.const 3) (i32.const 0) (i32.const 100) (i32.const 5) (i32.const 0)
        (i64.const 2) (i64.const 2) (i32.const 0) (i32.const 12))
      (then (unreachable)))
    (i32.store (i32.const 0) (i32.const 1024))
    (i32.store (i32.const 4) (i32.const 65536))
    (if (call $read (i32.load (i32.const 12)) (i32.const 0) (i32.const 1) (i32.const 8)) (then (unreachable)))
    (i32.store (i32.const 4) (i32.load (i32.const 8)))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#
        .to_owned()
}

/// Asks for something that guests are not given.
pub fn socket() -> String {
    r#"(module
  (import "wasi_snapshot_preview1" "sock_open" (func (param i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")))"#
        .to_owned()
}

/// Writes `count` bytes for any input, which it repeats.
pub fn long(count: u32) -> String {
    guest(&format!(
        r#"(local $left i32)
    (drop (call $take))
    (local.set $left (i32.const {count}))
    (loop $more
      (call $say (i32.const 1))
      (local.set $left (i32.sub (local.get $left) (i32.const 1)))
      (br_if $more (local.get $left)))"#
    ))
}

/// Reads its whole input and writes a checksum of it, see [`checksum_of`].
pub fn checksum() -> String {
    guest(
        r#"(local $count i32) (local $at i32) (local $sum i64)
    (loop $more
      (local.set $count (call $take))
      (local.set $at (i32.const 0))
      (block $end (loop $next
        (br_if $end (i32.ge_u (local.get $at) (local.get $count)))
        (local.set $sum (i64.add
          (i64.mul (local.get $sum) (i64.const 31))
          (i64.load8_u (i32.add (local.get $at) (i32.const 1024)))))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $next)))
      (br_if $more (local.get $count)))
    (i64.store (i32.const 1024) (local.get $sum))
    (call $say (i32.const 8))"#,
    )
}

/// What [`checksum`] writes for an input.
pub fn checksum_of(input: &[u8]) -> [u8; 8] {
    let add = |sum: u64, byte: &u8| sum.wrapping_mul(31).wrapping_add(u64::from(*byte));
    input.iter().fold(0, add).to_le_bytes()
}
