//! Modules that are wrong in one place, section by section: refused, and it is said why.

use bayan_packing::{Refusal, limits::MAX_MODULE, pack};
use wasm_encoder::{CustomSection, Encode, Section};

/// A guest with a section of every kind that guests may have.
const WHOLE: &str = r#"(module
    (type (func)) (type (func (param i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_close" (func (type 1)))
    (func $start) (func $main)
    (table 2 funcref)
    (memory (export "memory") 1)
    (global (mut i32) (i32.const 0))
    (export "_start" (func $main))
    (start $start)
    (elem (i32.const 0) $main)
    (data (i32.const 8) "abc")
    (func (memory.init 0 (i32.const 0) (i32.const 0) (i32.const 0)))
    (@custom "made" "by hand"))"#;
/// Where modules begin their sections.
const HEADER: usize = 8;

/// Why the module is refused as it stands.
fn why(wasm: &[u8]) -> String {
    match pack(wasm) {
        Err(Refusal::Invalid(why)) => {
            assert!(why.len() > 10, "{why:?} says nothing");
            why
        }
        other => panic!("{other:?}"),
    }
}

/// Sections of a module: id and content.
fn sections(wasm: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut reader = wasmparser::BinaryReader::new(&wasm[HEADER..], 0);
    let mut sections = Vec::new();
    while !reader.eof() {
        let id = reader.read_u8().unwrap();
        let size = reader.read_var_u32().unwrap();
        sections.push((id, reader.read_bytes(size as usize).unwrap().to_vec()));
    }
    sections
}

/// A module of these sections, each with the length that `length` says.
fn module(sections: &[(u8, Vec<u8>)], length: impl Fn(u8, usize) -> u32) -> Vec<u8> {
    let mut wasm = b"\0asm\x01\0\0\0".to_vec();
    for (id, content) in sections {
        wasm.push(*id);
        length(*id, content.len()).encode(&mut wasm);
        wasm.extend_from_slice(content);
    }
    wasm
}

fn whole() -> Vec<u8> {
    let wasm = wat::parse_str(WHOLE).unwrap();
    pack(&wasm).unwrap();
    wasm
}

#[test]
fn every_section_is_there() {
    let ids: Vec<u8> = sections(&whole()).into_iter().map(|(id, _)| id).collect();
    // The last two are of names, and made by hand.
    assert_eq!(ids, [1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 10, 11, 0, 0]);
}

#[test]
fn truncated_sections_are_refused() {
    let whole = sections(&whole());
    for place in 0..whole.len() {
        let id = whole[place].0;
        for kept in 0..whole[place].1.len() {
            let mut cut = whole.clone();
            // The section says that it is as long as it is, so what is missing is inside.
            cut[place].1.truncate(kept);
            let wasm = module(&cut, |_, len| len as u32);
            if id == 0 {
                // The content of a custom section is nobody's business but its name's.
                continue;
            }
            why(&wasm);
            // And the module that ends there, in a section that goes on.
            let full = whole[place].1.len() as u32;
            why(&module(&cut[..=place], |each, len| if each == id { full } else { len as u32 }));
        }
    }
    let mut nameless = whole;
    nameless.push((0, Vec::new()));
    why(&module(&nameless, |_, len| len as u32));
}

#[test]
fn wrong_lengths_are_refused() {
    let whole = sections(&whole());
    for (id, _) in whole.iter().filter(|(id, _)| *id != 0) {
        for wrong in [-1, 1, 1 << 20, i64::from(u32::MAX) - 200] {
            why(&module(&whole, |each, len| {
                let len = len as i64;
                u32::try_from(if each == *id { len + wrong } else { len }).unwrap()
            }));
        }
        // A count that the content does not bear out. The start section and the data count have none.
        if ![8, 12].contains(id) {
            for count in [&[0x7f][..], &[0xff, 0xff, 0xff, 0xff, 0x0f]] {
                let mut more = whole.clone();
                let section = more.iter_mut().find(|section| section.0 == *id).unwrap();
                section.1.splice(0..1, count.iter().copied());
                why(&module(&more, |_, len| len as u32));
            }
        }
    }
}

#[test]
fn sections_out_of_order_unknown_or_twice_are_refused() {
    let whole = sections(&whole());
    for (place, section) in whole.iter().enumerate().filter(|(_, (id, _))| *id != 0) {
        let mut twice = whole.clone();
        twice.insert(place, section.clone());
        why(&module(&twice, |_, len| len as u32));
        if place > 0 {
            let mut swapped = whole.clone();
            swapped.swap(place, place - 1);
            why(&module(&swapped, |_, len| len as u32));
        }
    }
    for id in [14, 15, 0x7f, 0xff] {
        let mut unknown = whole.clone();
        unknown.push((id, vec![0]));
        why(&module(&unknown, |_, len| len as u32));
    }
}

#[test]
fn indices_that_name_nothing_are_refused() {
    // Which section, what it holds instead, and what the refusal is about.
    let wrong: [(u8, &[u8], &str); 12] = [
        (2, b"\x01\x02ab\x01c\x00\x63", "type"),
        (3, &[3, 0, 0, 0x63], "type"),
        (4, &[1, 0x70, 1, 5, 2], "minimum"),
        (5, &[1, 0, 0x81, 0x80, 0x04], "memory size"),
        (6, &[1, 0x7f, 0, 0x23, 0x63, 0x0b], "global"),
        (7, b"\x02\x06memory\x02\x05\x06_start\x00\x01", "memory"),
        (7, b"\x01\x06_start\x00\x63", "function"),
        (8, &[0x63], "function"),
        (9, &[1, 0, 0x41, 0, 0x0b, 1, 0x63], "function"),
        (9, &[1, 2, 9, 0x41, 0, 0x0b, 0, 1, 1], "table"),
        (12, &[9], "data"),
        (11, &[1, 2, 9, 0x41, 8, 0x0b, 0], "memory"),
    ];
    for (id, content, about) in wrong {
        let mut sections = sections(&whole());
        sections.iter_mut().find(|section| section.0 == id).unwrap().1 = content.to_vec();
        let why = why(&module(&sections, |_, len| len as u32));
        assert!(why.contains(about), "section {id}: {why}");
    }
    // In code: a local, a function, a type, a global, a label, a data segment, a table.
    for body in [
        &[0x20, 0x63, 0x1a][..],
        &[0x10, 0x63],
        &[0x41, 0, 0x11, 0x63, 0],
        &[0x41, 0, 0x11, 0, 0x63],
        &[0x23, 0x63, 0x1a],
        &[0x0c, 0x63],
        &[0xfc, 0x09, 0x63],
        &[0xfc, 0x10, 0x63, 0x1a],
    ] {
        let mut sections = sections(&whole());
        let code = &mut sections.iter_mut().find(|section| section.0 == 10).unwrap().1;
        let function = [&[body.len() as u8 + 2, 0], body, &[0x0b]].concat();
        *code = [&[3, 2, 0, 0x0b, 2, 0, 0x0b][..], &function].concat();
        why(&module(&sections, |_, len| len as u32));
    }
}

#[test]
fn the_largest_module_is_packed_and_one_byte_more_is_not() {
    let wasm = whole();
    // Name, its length, the section's id and length: what the padding comes with.
    let around = 1 + 1 + 1 + 4;
    let padded = |size: usize| {
        let mut wasm = wasm.clone();
        let data = vec![0x0b; size - wasm.len() - around];
        let section = CustomSection { name: "x".into(), data: (&data).into() };
        section.append_to(&mut wasm);
        assert_eq!(wasm.len(), size);
        wasm
    };
    let packed = pack(&padded(MAX_MODULE)).unwrap();
    assert!(packed.wasm.len() < 4096, "what nobody runs is left out");
    for size in [MAX_MODULE + 1, MAX_MODULE + (1 << 20)] {
        assert_eq!(pack(&padded(size)).unwrap_err(), Refusal::TooLarge(size));
    }
}

#[test]
fn a_module_full_of_code_is_packed() {
    // Functions so small that what is put in is more than they are.
    let count = 250_000_u32;
    let wasm = wat::parse_str(r#"(module (type (func)) (memory (export "memory") 1))"#).unwrap();
    let mut sections = sections(&wasm);
    let mut functions = Vec::new();
    count.encode(&mut functions);
    functions.resize(functions.len() + count as usize, 0);
    // i32.const 0, drop, many times; loop, br 0, end; end
    let body = [&[0][..], &[0x41, 0, 0x1a].repeat(16), &[0x03, 0x40, 0x0c, 0, 0x0b, 0x0b]].concat();
    let mut code = Vec::new();
    count.encode(&mut code);
    for _ in 0..count {
        code.push(body.len() as u8);
        code.extend_from_slice(&body);
    }
    sections.insert(1, (3, functions));
    let exports = sections.iter().position(|(id, _)| *id == 7).unwrap();
    sections[exports].1 = b"\x02\x06memory\x02\x00\x06_start\x00\x00".to_vec();
    sections.push((10, code));
    let wasm = module(&sections, |_, len| len as u32);
    assert!(wasm.len() < MAX_MODULE && wasm.len() > 12 << 20);
    let packed = pack(&wasm).unwrap();
    println!("{} bytes became {}", wasm.len(), packed.wasm.len());
    assert!(packed.wasm.len() < 4 * wasm.len());
}
