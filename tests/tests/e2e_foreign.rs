//! A command-line program that others wrote, and that knows nothing of this overlay, runs unchanged.

use std::{env, fs, process::Command};

use anyhow::ensure;
use bayan_tests::{peers::Node, program::root, runs::Run};

const MARKDOWN: [(&str, &str); 3] = [
    (
        "# Title\n\nSome *emphasis* and `code`.\n",
        "<h1>Title</h1>\n<p>Some <em>emphasis</em> and <code>code</code>.</p>\n",
    ),
    ("- one\n- two\n", "<ul>\n<li>one</li>\n<li>two</li>\n</ul>\n"),
    (
        "> quoted\n\n[link](https://example.org)\n",
        "<blockquote>\n<p>quoted</p>\n</blockquote>\n<p><a href=\"https://example.org\">link</a></p>\n",
    ),
];

#[test]
fn a_third_party_program_runs_unchanged() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let built =
        Command::new(root().join("apps/foreign/build")).arg(dir.path().join("built")).output()?;
    if !built.status.success() {
        let why = String::from_utf8_lossy(&built.stderr);
        ensure!(
            env::var_os("CI").is_none_or(|ci| ci != "true"),
            "the program could not be built:\n{why}"
        );
        println!("skipped: the program could not be built:\n{why}");
        return Ok(());
    }
    let module = String::from_utf8(built.stdout)?;
    let module = module.lines().last().unwrap_or_default();

    let mut expected = String::new();
    for (number, (markdown, html)) in (0..).zip(MARKDOWN) {
        fs::write(dir.path().join(format!("{number}.md")), markdown)?;
        expected.push_str(html);
    }
    let one = Node::start(&dir.path().join("one"), &["--slots", "1"])?;
    let _two = Node::join(&dir.path().join("two"), &one, &[])?;
    let pattern = dir.path().join("*.md").display().to_string();
    let args =
        ["--files", &pattern, "--redundancy", "2", "--local", "never", "--bootstrap", &one.dial];
    let done = Run::start(&dir.path().join("submitter"), module.as_ref(), &args)?.finish(0)?;
    assert_eq!(String::from_utf8(done.bytes)?, expected);
    Ok(())
}
