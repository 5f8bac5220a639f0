//! One generated module.

use arbitrary::Unstructured;
use wasm_smith::{Config, MemoryOffsetChoices, Module};

use super::Chance;
use super::program::program;
use crate::{bundle, engines};

/// What kind of modules to generate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// Everything that packing takes.
    Any,
    /// Few traps, so that programs run far.
    Long,
}

/// A generated module.
#[derive(Debug, Clone)]
pub struct Case {
    /// What it was made from.
    pub seed: u64,
    /// Its bytes, not packed.
    pub wasm: Vec<u8>,
}

impl Case {
    /// The module of a seed.
    pub fn new(seed: u64) -> Case {
        let mut chance = Chance::new(seed);
        if chance.percent(40) {
            return Case { seed, wasm: program(&mut chance) };
        }
        let shape = if chance.percent(40) { Shape::Any } else { Shape::Long };
        let mut config = config(shape, &mut chance);
        let len = chance.of(&[1 << 10, 4 << 10, 16 << 10]);
        for attempt in 0..100 {
            // Most modules with references have some of the host's, which guests are not given.
            config.reference_types_enabled &= attempt < 6;
            config.max_tables =
                config.max_tables.min(if config.reference_types_enabled { 3 } else { 1 });
            let bytes = chance.bytes(len);
            // Now and then no module of this configuration can be made of the bytes.
            let Ok(module) = Module::new(config.clone(), &mut Unstructured::new(&bytes)) else {
                continue;
            };
            let wasm = module.to_bytes();
            if engines::validate(&wasm).is_ok() {
                return Case { seed, wasm };
            }
        }
        panic!("seed {seed} makes no module");
    }
}

fn config(shape: Shape, chance: &mut Chance) -> Config {
    let references = chance.percent(40);
    let imports = chance.percent(25);
    Config {
        available_imports: imports.then(bundle::support),
        allow_floats: chance.percent(95),
        allow_start_export: chance.percent(15),
        bulk_memory_enabled: true,
        canonicalize_nans: false,
        disallow_traps: shape == Shape::Long,
        exceptions_enabled: false,
        export_everything: true,
        extended_const_enabled: false,
        gc_enabled: false,
        generate_custom_sections: chance.percent(20),
        max_data_segments: 8,
        max_element_segments: 8,
        max_elements: 20,
        max_funcs: chance.of(&[4, 8, 12]),
        max_globals: 12,
        max_imports: if imports { 8 } else { 0 },
        max_instructions: chance.of(&[20, 100, 400]),
        max_memories: 1,
        max_memory32_bytes: chance.of(&[1, 2, 4]) << 16,
        max_table_elements: 100,
        max_tables: if references { 3 } else { 1 },
        max_types: 12,
        memory64_enabled: false,
        memory_max_size_required: true,
        memory_offset_choices: MemoryOffsetChoices(90, 8, 2),
        min_funcs: chance.of(&[1, 2, 4]),
        min_globals: chance.of(&[0, 2, 4]),
        min_memories: u32::from(chance.percent(90)),
        min_uleb_size: if chance.percent(10) { 5 } else { 1 },
        min_types: 4,
        multi_value_enabled: true,
        reference_types_enabled: references,
        relaxed_simd_enabled: false,
        saturating_float_to_int_enabled: true,
        sign_extension_ops_enabled: true,
        simd_enabled: chance.percent(70),
        table_max_size_required: true,
        tail_call_enabled: chance.percent(60),
        threads_enabled: false,
        ..Config::default()
    }
}
