//! Packing a whole module.

use alloc::{string::ToString, vec::Vec};

use wasm_encoder::{
    BlockType, BranchHints, ConstExpr, DataCountSection, Encode, ExportKind, ExportSection,
    GlobalType, InstructionSink, MemorySection, MemoryType, Module, RawSection, RefType, SectionId,
    StartSection, TableSection, TableType, ValType,
};
use wasmparser::{
    BinaryReader, ExternalKind, FuncValidatorAllocations, Parser, Payload, TypeRef, ValidPayload,
    Validator, types::TypesRef,
};

use crate::{
    admission,
    emit::Emitter,
    limits::{MAX_MODULE, MAX_PAGES, MAX_TABLE_ELEMENTS, MAX_TABLES, STACK},
    names, proposals,
    refusal::Refusal,
    report::{Imported, Report},
    scan::scan,
    start::Start,
    types::TypeList,
    unroll,
};

/// A packed module.
#[derive(Debug, Clone)]
pub struct Packed {
    /// The module's bytes.
    pub wasm: Vec<u8>,
    /// What was done.
    pub report: Report,
}

/// Why a packed module ended itself, as it says in [`names::STOP`]. Fuel shows in [`names::FUEL`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// It did not, or fuel ran out.
    None = 0,
    /// Its frames added up to more than [`crate::limits::STACK`].
    Stack = 1,
    /// The host refused to give memory or table elements that the limits allow.
    Refused = 2,
}

/// Where packing put what, and what bounds growth.
#[derive(Debug, Default)]
pub(crate) struct Shape {
    /// Indices of the globals that packing adds.
    pub(crate) fuel: u32,
    pub(crate) slice: u32,
    pub(crate) pages: u32,
    pub(crate) stop: u32,
    pub(crate) stack: u32,
    /// Pages that the memory may grow to; none if it is not the module's own.
    pub(crate) memory_maximum: Option<u64>,
    /// Elements that each table may grow to; none if it is not the module's own.
    pub(crate) table_maxima: Vec<Option<u64>>,
}

/// Packs a WASI command: a guest.
pub fn pack(wasm: &[u8]) -> Result<Packed, Refusal> {
    packed(wasm, Kind::Command)
}

/// Packs any module, with the fuel that it has until the host sets more. Imports of every kind and
/// all exports stay, and the start function is called at instantiation. For comparing engines; no
/// guest is run this way.
pub fn pack_library(wasm: &[u8], fuel: i64) -> Result<Packed, Refusal> {
    packed(wasm, Kind::Library { fuel })
}

/// The same with all that is done for guests only: memory means nothing after a trap.
pub fn pack_library_as_guest(wasm: &[u8], fuel: i64) -> Result<Packed, Refusal> {
    let mut packer = Packer::new(wasm, Kind::Library { fuel });
    packer.late = true;
    packer.packed()
}

/// The same without copies of loops: what a packed module does may not depend on them.
pub fn pack_library_without_copies(wasm: &[u8], fuel: i64) -> Result<Packed, Refusal> {
    let mut packer = Packer::new(wasm, Kind::Library { fuel });
    packer.spare = 0;
    packer.packed()
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Command,
    Library { fuel: i64 },
}

/// What a guest is made of, and everything that keeps it from running.
///
/// # Errors
/// If there is no valid module to describe.
pub fn inspect(wasm: &[u8]) -> Result<(Report, Vec<Refusal>), Refusal> {
    let mut packer = Packer::new(wasm, Kind::Command);
    packer.read_all()?;
    packer.check_exports();
    Ok((packer.report, packer.problems))
}

fn packed(wasm: &[u8], kind: Kind) -> Result<Packed, Refusal> {
    Packer::new(wasm, kind).packed()
}

/// One section as it is: how many items, and their bytes.
#[derive(Debug, Clone, Copy, Default)]
struct Items<'a> {
    count: u32,
    bytes: &'a [u8],
}

struct Packer<'a> {
    wasm: &'a [u8],
    kind: Kind,
    report: Report,
    shape: Shape,
    types: TypeList,
    start: Start,
    own_types: Items<'a>,
    imports: Items<'a>,
    functions: Items<'a>,
    raw_tables: Items<'a>,
    raw_memories: Items<'a>,
    globals: Items<'a>,
    exports: ExportSection,
    entry: Option<u32>,
    exports_memory: bool,
    start_function: Option<u32>,
    elements: Items<'a>,
    data_count: Option<u32>,
    bodies: Vec<Vec<u8>>,
    hints: BranchHints,
    /// Whether there are any.
    hinted: bool,
    /// Bytes that copies of loops may still add.
    spare: usize,
    /// Whether stores may be made canonical late.
    late: bool,
    data: Items<'a>,
    functions_in_all: u32,
    added_functions: Vec<u8>,
    /// Why the module may not run, though it is valid.
    problems: Vec<Refusal>,
}

impl<'a> Packer<'a> {
    fn packed(mut self) -> Result<Packed, Refusal> {
        self.read_all()?;
        self.check_exports();
        match self.problems.as_slice() {
            [] => Ok(self.finish()),
            [problem] => Err(problem.clone()),
            problems => Err(Refusal::Several(problems.to_vec())),
        }
    }

    fn read_all(&mut self) -> Result<(), Refusal> {
        let wasm = self.wasm;
        if wasm.len() > MAX_MODULE {
            return Err(Refusal::TooLarge(wasm.len()));
        }
        if Parser::is_component(wasm) {
            return Err(Refusal::Component);
        }
        if !Parser::is_core_wasm(wasm) {
            return Err(Refusal::NotWasm);
        }
        self.read().map_err(|refusal| proposals::named(wasm, refusal))
    }

    fn new(wasm: &'a [u8], kind: Kind) -> Self {
        Self {
            wasm,
            kind,
            report: Report { size: wasm.len(), ..Report::default() },
            shape: Shape::default(),
            types: TypeList::default(),
            start: Start::default(),
            own_types: Items::default(),
            imports: Items::default(),
            functions: Items::default(),
            raw_tables: Items::default(),
            raw_memories: Items::default(),
            globals: Items::default(),
            exports: ExportSection::new(),
            entry: None,
            exports_memory: false,
            start_function: None,
            elements: Items::default(),
            data_count: None,
            bodies: Vec::new(),
            hints: BranchHints::new(),
            hinted: false,
            spare: unroll::spare(wasm.len()),
            late: matches!(kind, Kind::Command),
            data: Items::default(),
            functions_in_all: 0,
            added_functions: Vec::new(),
            problems: Vec::new(),
        }
    }

    fn command(&self) -> bool {
        matches!(self.kind, Kind::Command)
    }

    fn items(&self, range: core::ops::Range<usize>) -> Result<Items<'a>, Refusal> {
        let bytes = self.wasm.get(range).unwrap_or_default();
        let mut reader = BinaryReader::new(bytes, 0);
        let count = reader.read_var_u32()?;
        Ok(Items { count, bytes: reader.read_bytes(reader.bytes_remaining())? })
    }

    /// Reads, checks and rewrites, section by section.
    fn read(&mut self) -> Result<(), Refusal> {
        let mut validator = Validator::new_with_features(proposals::FEATURES);
        let mut parser = Parser::new(0);
        parser.set_features(proposals::FEATURES);
        let mut allocations = FuncValidatorAllocations::default();
        for payload in parser.parse_all(self.wasm) {
            let payload = payload?;
            match validator.payload(&payload)? {
                ValidPayload::Func(function, body) => {
                    let scan = scan(&function, &body, &mut allocations)?;
                    let mut emitter = Emitter {
                        wasm: self.wasm,
                        shape: &self.shape,
                        types: &mut self.types,
                        report: &mut self.report,
                        spare: &mut self.spare,
                        late: self.late,
                    };
                    let written = emitter.function(function.index, &body, &scan)?;
                    if !written.hints.is_empty() {
                        self.hints.function_hints(function.index, written.hints);
                        self.hinted = true;
                    }
                    self.bodies.push(written.body);
                }
                ValidPayload::End(types) => self.place(types.as_ref()),
                _ => {
                    if let Some(types) = validator.types(0) {
                        self.section(payload, types)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn section(&mut self, payload: Payload<'a>, types: TypesRef<'_>) -> Result<(), Refusal> {
        match payload {
            Payload::TypeSection(section) => {
                self.own_types = self.items(section.range())?;
                for index in 0..types.core_type_count_in_module() {
                    let ty = types[types.core_type_at_in_module(index)].unwrap_func();
                    self.types.own(ty.params(), ty.results());
                }
            }
            Payload::ImportSection(section) => {
                self.imports = self.items(section.range())?;
                for import in section.into_imports() {
                    self.import(&import?, types);
                }
            }
            Payload::FunctionSection(section) => self.functions = self.items(section.range())?,
            Payload::TableSection(section) => {
                self.raw_tables = self.items(section.range())?;
                for table in section {
                    self.table(&table?.ty);
                }
            }
            Payload::MemorySection(section) => {
                self.raw_memories = self.items(section.range())?;
                for memory in section {
                    let memory = memory?;
                    self.start.pages = memory.initial;
                    let maximum = memory.maximum.unwrap_or(MAX_PAGES).min(MAX_PAGES);
                    self.shape.memory_maximum = Some(maximum);
                    (self.report.memory_min, self.report.memory_max) =
                        (memory.initial, memory.maximum);
                }
            }
            Payload::GlobalSection(section) => {
                self.globals = self.items(section.range())?;
                for global in section {
                    let global = global?;
                    let known =
                        !global.ty.mutable && global.ty.content_type == wasmparser::ValType::I32;
                    let value = known.then(|| self.start.value(&global.init_expr)).flatten();
                    self.start.globals.push(value);
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    self.export(&export?, types);
                }
            }
            Payload::StartSection { func, .. } => self.start_function = Some(func),
            Payload::ElementSection(section) => {
                self.elements = self.items(section.range())?;
                if self.command() {
                    self.start.elements(section, &mut self.problems)?;
                }
            }
            Payload::DataCountSection { count, .. } => self.data_count = Some(count),
            Payload::CodeSectionStart { .. } => self.place(types),
            Payload::DataSection(section) => {
                self.data = self.items(section.range())?;
                if self.command() {
                    self.start.data(section, &mut self.problems)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn import(&mut self, import: &wasmparser::Import<'_>, types: TypesRef<'_>) {
        let (module, name) = (import.module, import.name);
        self.report.imports.push(Imported { module: module.to_string(), name: name.to_string() });
        match import.ty {
            TypeRef::FuncExact(_) => {
                self.problems.push(Refusal::Proposal("custom descriptors"));
            }
            TypeRef::Func(index) if self.command() => {
                let signature = types[types.core_type_at_in_module(index)].unwrap_func();
                self.problems.extend(admission::import(module, name, signature).err());
            }
            _ if self.command() => {
                let reason = "guests may import functions only";
                self.problems.push(admission::refused(module, name, reason));
            }
            TypeRef::Table(_) => self.shape.table_maxima.push(None),
            TypeRef::Global(_) => self.start.globals.push(None),
            _ => {}
        }
    }

    fn table(&mut self, table: &wasmparser::TableType) {
        if self.command() && table.initial > MAX_TABLE_ELEMENTS {
            self.problems.push(Refusal::TableTooLarge(table.initial));
        }
        let maximum = table.maximum.unwrap_or(MAX_TABLE_ELEMENTS).min(MAX_TABLE_ELEMENTS);
        self.shape.table_maxima.push(Some(maximum));
        self.start.tables.push(table.initial);
    }

    fn export(&mut self, export: &wasmparser::Export<'_>, types: TypesRef<'_>) {
        if export.name.starts_with(names::PREFIX) {
            self.problems.push(Refusal::Export(export.name.to_string()));
        }
        self.report.exports.push(export.name.to_string());
        if !self.command() {
            let kind = match export.kind {
                ExternalKind::Func | ExternalKind::FuncExact => ExportKind::Func,
                ExternalKind::Table => ExportKind::Table,
                ExternalKind::Memory => ExportKind::Memory,
                ExternalKind::Global => ExportKind::Global,
                ExternalKind::Tag => ExportKind::Tag,
            };
            self.exports.export(export.name, kind, export.index);
        }
        match (export.name, export.kind) {
            ("_start", ExternalKind::Func) => {
                let signature = types[types.core_function_at(export.index)].unwrap_func();
                if signature.params().is_empty() && signature.results().is_empty() {
                    self.entry = Some(export.index);
                }
            }
            ("memory", ExternalKind::Memory) => self.exports_memory = true,
            _ => {}
        }
    }

    /// What can only be missed once everything has been read.
    fn check_exports(&mut self) {
        if !self.command() {
            return;
        }
        let tables = self.start.tables.len() as u32;
        if tables > MAX_TABLES {
            self.problems.push(Refusal::TooManyTables(tables));
        }
        if self.entry.is_none() {
            self.problems.push(Refusal::NoStart);
        }
        if !self.exports_memory {
            self.problems.push(Refusal::NoMemory);
        }
    }

    /// Fixes where what packing adds will stand. Called when every declaration has been read, and
    /// again at the end for modules without code.
    fn place(&mut self, types: TypesRef<'_>) {
        let globals = types.global_count();
        self.shape.fuel = globals;
        self.shape.pages = globals + 1;
        self.shape.stop = globals + 2;
        self.shape.stack = globals + 3;
        self.shape.slice = globals + 4;
        self.functions_in_all = types.function_count();
    }

    /// Puts the packed module together.
    fn finish(mut self) -> Packed {
        if self.command() {
            self.add_entry();
        }
        let mut module = Module::new();
        let (added, types) = self.types.added();
        section(&mut module, SectionId::Type, self.own_types, added, &types);
        section(&mut module, SectionId::Import, self.imports, 0, &[]);
        let (added, functions) =
            (u32::from(self.command()), core::mem::take(&mut self.added_functions));
        section(&mut module, SectionId::Function, self.functions, added, &functions);
        self.tables_and_memory(&mut module);
        let (added, globals) = self.added_globals();
        section(&mut module, SectionId::Global, self.globals, added, &globals);
        for (name, index) in [
            (names::FUEL, self.shape.fuel),
            (names::SLICE, self.shape.slice),
            (names::PAGES, self.shape.pages),
            (names::STOP, self.shape.stop),
        ] {
            self.exports.export(name, ExportKind::Global, index);
        }
        if !self.command() {
            self.exports.export(names::STACK, ExportKind::Global, self.shape.stack);
        }
        module.section(&self.exports);
        if let (Some(function_index), Kind::Library { .. }) = (self.start_function, self.kind) {
            module.section(&StartSection { function_index });
        }
        section(&mut module, SectionId::Element, self.elements, 0, &[]);
        if let Some(count) = self.data_count {
            module.section(&DataCountSection { count });
        }
        if self.hinted {
            module.section(&self.hints);
        }
        let mut code = Vec::new();
        for body in &self.bodies {
            (body.len() as u32).encode(&mut code);
            code.extend_from_slice(body);
        }
        section(&mut module, SectionId::Code, Items::default(), self.bodies.len() as u32, &code);
        section(&mut module, SectionId::Data, self.data, 0, &[]);
        let wasm = module.finish();
        self.report.packed_size = wasm.len();
        self.report.start_fuel = self.start.fuel;
        Packed { wasm, report: self.report }
    }

    /// The function that stands for `_start`: charges the start, calls the guest's start function,
    /// then its entry.
    fn add_entry(&mut self) {
        self.start.charge_state();
        let fuel = i64::try_from(self.start.fuel).unwrap_or(i64::MAX);
        self.types.get(&[], &[]).encode(&mut self.added_functions);
        let mut body = Vec::new();
        0u32.encode(&mut body);
        let mut sink = InstructionSink::new(&mut body);
        sink.global_get(self.shape.fuel)
            .i64_const(fuel)
            .i64_sub()
            .global_set(self.shape.fuel)
            .global_get(self.shape.fuel)
            .i64_const(0)
            .i64_le_s()
            .if_(BlockType::Empty)
            .i64_const(0)
            .global_set(self.shape.fuel)
            .unreachable()
            .end();
        for function in self.start_function.into_iter().chain(self.entry) {
            sink.call(function);
        }
        sink.end();
        self.bodies.push(body);
        self.exports.export("_start", ExportKind::Func, self.functions_in_all);
        self.exports.export("memory", ExportKind::Memory, 0);
    }

    fn tables_and_memory(&mut self, module: &mut Module) {
        if !self.command() {
            section(module, SectionId::Table, self.raw_tables, 0, &[]);
            section(module, SectionId::Memory, self.raw_memories, 0, &[]);
            return;
        }
        if !self.start.tables.is_empty() {
            let mut tables = TableSection::new();
            for (minimum, maximum) in self.start.tables.iter().zip(&self.shape.table_maxima) {
                tables.table(TableType {
                    element_type: RefType::FUNCREF,
                    table64: false,
                    minimum: *minimum,
                    maximum: *maximum,
                    shared: false,
                });
            }
            module.section(&tables);
        }
        let mut memories = MemorySection::new();
        memories.memory(MemoryType {
            minimum: self.start.pages,
            maximum: self.shape.memory_maximum,
            memory64: false,
            shared: false,
            page_size_log2: None,
        });
        module.section(&memories);
    }

    /// The globals that packing adds, as items of a section.
    fn added_globals(&self) -> (u32, Vec<u8>) {
        let (fuel, pages) = match self.kind {
            Kind::Command => (0, 0),
            Kind::Library { fuel } => (fuel, MAX_PAGES as i32),
        };
        let mut out = Vec::new();
        for (val_type, init) in [
            (ValType::I64, ConstExpr::i64_const(fuel)),
            (ValType::I32, ConstExpr::i32_const(pages)),
            (ValType::I32, ConstExpr::i32_const(0)),
            (ValType::I32, ConstExpr::i32_const(STACK as i32)),
            (ValType::I64, ConstExpr::i64_const(0)),
        ] {
            GlobalType { val_type, mutable: true, shared: false }.encode(&mut out);
            init.encode(&mut out);
        }
        (5, out)
    }
}

/// A section of what the module has and what is added behind it; none if that is nothing.
fn section(module: &mut Module, id: SectionId, own: Items<'_>, added: u32, items: &[u8]) {
    if own.count + added == 0 {
        return;
    }
    let mut data = Vec::with_capacity(own.bytes.len() + items.len() + 5);
    (own.count + added).encode(&mut data);
    data.extend_from_slice(own.bytes);
    data.extend_from_slice(items);
    module.section(&RawSection { id: id.into(), data: &data });
}
