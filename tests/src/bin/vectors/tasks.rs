//! Task ids and the bounds of programs.

use bayan_protocol::{
    cbor,
    id::Hash,
    task::{Input, Limits, Program},
};
use serde_json::{Value, json};

use crate::{
    cast,
    file::{Case, File},
};

pub(crate) fn files() -> Vec<File> {
    vec![
        File::new(
            "work/task-ids.json",
            "Programs, inputs, the canonical array over both, and the task id.",
            &["WORK-2", "WORK-3"],
            ids(),
        ),
        File::new(
            "work/programs.json",
            "Programs within their bounds and beyond.",
            &["WORK-2"],
            programs(),
        ),
    ]
}

fn program(program: &Program) -> Value {
    serde_json::to_value(program).expect("a program is JSON")
}

fn id(name: &str, of: &Program, input: &Input) -> Case {
    let stdin = input.hash();
    let data: Vec<(&str, &Hash)> =
        of.data.iter().map(|file| (file.name.as_str(), &file.hash)).collect();
    let limits = (of.limits.memory, of.limits.fuel, of.limits.output);
    let preimage = cbor::encode(&(
        1_u8,
        &of.module,
        &of.args,
        &of.env,
        &stdin,
        data,
        limits,
        of.profile.as_str(),
        &of.salt,
    ));
    let input = match input {
        Input::Inline(bytes) => json!({ "inline": hex::encode(bytes) }),
        Input::Blob { hash, len } => json!({ "blob": { "hash": hash, "len": len } }),
    };
    Case::valid(name)
        .with("program", program(of))
        .with("input", input)
        .with("stdin", stdin.to_string())
        .with("preimage", hex::encode(preimage))
        .with("task", of.task_id(&stdin).to_string())
}

fn ids() -> Vec<Case> {
    let (bare, full) = (cast::bare(), cast::full());
    let zero = cast::inline(b"0\n");
    let blob = Input::Blob { hash: Hash::of(b"0\n"), len: 2 };
    let limits = |limits| Program { limits, ..bare.clone() };
    let mut longer = full.clone();
    longer.data[1].len += 1;
    let mut reversed = full.clone();
    reversed.env.reverse();
    let arguments = |args: &[&str]| Program {
        args: args.iter().map(|arg| (*arg).into()).collect(),
        ..bare.clone()
    };
    vec![
        id("a bare program", &bare, &zero),
        id("the same input by digest: the same id", &bare, &blob),
        id("no input", &bare, &cast::inline(b"")),
        id("another input", &bare, &cast::inline(b"1\n")),
        id("something of everything", &full, &zero),
        id("other lengths of files: the same id", &longer, &zero),
        id("the environment in another order", &reversed, &zero),
        id(
            "another length of the module: the same id",
            &Program { module_len: 7, ..bare.clone() },
            &zero,
        ),
        id("another salt", &Program { salt: Hash([0x5b; 32]), ..bare.clone() }, &zero),
        id("another profile", &Program { profile: "other".into(), ..bare.clone() }, &zero),
        id(
            "another wall time: the same id",
            &limits(Limits { wall_ms: 1, ..Limits::default() }),
            &zero,
        ),
        id("more memory", &limits(Limits { memory: 512 << 20, ..Limits::default() }), &zero),
        id("more fuel", &limits(Limits { fuel: u64::MAX, ..Limits::default() }), &zero),
        id("more output", &limits(Limits { output: 0, ..Limits::default() }), &zero),
        id("one argument with a space", &arguments(&["a b"]), &zero),
        id("two arguments", &arguments(&["a", "b"]), &zero),
    ]
}

fn programs() -> Vec<Case> {
    let valid = |name, of: &Program| Case::valid(name).with("program", program(of));
    let bare = cast::bare();
    let mut cases = vec![
        valid("a bare program", &bare),
        valid("something of everything", &cast::full()),
        valid("names sort by bytes", &with_data(&["B", "a", "ä"])),
        valid("the longest name", &with_data(&[&"n".repeat(255)])),
        valid("names with dots", &with_data(&["...", ".hidden"])),
        valid("an empty argument", &Program { args: vec![String::new()], ..bare.clone() }),
        valid("an empty value, and the same name twice", &with_env(&[("A", ""), ("A", "=")])),
        valid("the largest module", &Program { module_len: 64 << 20, ..bare.clone() }),
        valid(
            "any limits",
            &Program { limits: Limits { memory: 0, fuel: 0, output: 0, wall_ms: 0 }, ..bare },
        ),
    ];
    let invalid = |(name, field, program): (&str, &str, Program)| {
        Case::invalid(name, &format!("bounds: {field}")).with("program", self::program(&program))
    };
    cases.extend(out_of_bounds().into_iter().map(invalid));
    cases
}

fn with_data(names: &[&str]) -> Program {
    Program { data: names.iter().map(|name| cast::file(name, b"")).collect(), ..cast::bare() }
}

fn with_env(env: &[(&str, &str)]) -> Program {
    Program {
        env: env.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        ..cast::bare()
    }
}

/// Small programs that break one bound each; large ones are among the refused frames.
pub(crate) fn out_of_bounds() -> Vec<(&'static str, &'static str, Program)> {
    let bare = cast::bare();
    let mut huge = with_data(&["a"]);
    huge.data[0].len = (4 << 30) + 1;
    vec![
        ("no module", "module", Program { module_len: 0, ..bare.clone() }),
        ("a module too large", "module", Program { module_len: (64 << 20) + 1, ..bare.clone() }),
        (
            "a profile's name too long",
            "profile",
            Program { profile: "p".repeat(257), ..bare.clone() },
        ),
        ("a NUL in an argument", "args", Program { args: vec!["a\0b".into()], ..bare }),
        ("a variable without a name", "env", with_env(&[("", "x")])),
        ("an equals sign in a variable's name", "env", with_env(&[("A=B", "x")])),
        ("a NUL in a variable's name", "env", with_env(&[("A\0", "x")])),
        ("a NUL in a variable's value", "env", with_env(&[("A", "x\0")])),
        ("data that is not sorted", "data", with_data(&["b", "a"])),
        ("data of one name twice", "data", with_data(&["a", "a"])),
        ("data without a name", "data", with_data(&[""])),
        ("data with a slash in its name", "data", with_data(&["a/b"])),
        ("data with a NUL in its name", "data", with_data(&["a\0"])),
        ("data named .", "data", with_data(&["."])),
        ("data named ..", "data", with_data(&[".."])),
        ("a data name too long", "data", with_data(&[&"n".repeat(256)])),
        ("a data file too large", "data", huge),
    ]
}
