//! The page that names all pages of a folder of results.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

const HEAD: &str = "# Results
What `bayan-sim` found, a folder each; made by the command and seed that its page names. \"Reproduced\" is \
said of a published number that lies inside the 95% interval of what was found, if that interval reaches \
no further than a fifth of the number to either side; \"too few\" where it reaches further. A target is met \
when the interval's far end is on the right side of it. Intervals resample seeds and identities, never \
results.

| run | comparisons |
|---|---|
";

/// Writes the page for the runs that lie in `folder`; a page about something else that is there stays.
pub fn write(folder: &Path) -> Result<()> {
    let path = folder.join("README.md");
    if fs::read_to_string(&path).is_ok_and(|there| !there.starts_with("# Results\n")) {
        return Ok(());
    }
    let read = || format!("cannot read {}", folder.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).with_context(read)? {
        names.push(entry.with_context(read)?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    let mut page = HEAD.to_owned();
    for name in names {
        let Ok(text) = fs::read_to_string(folder.join(&name).join("README.md")) else { continue };
        let title = text.lines().next().and_then(|line| line.strip_prefix("# ")).unwrap_or(&name);
        let found = text.lines().find_map(|line| line.strip_prefix("**")?.split_once(".**"));
        let Some((summary, _)) = found else { continue };
        page.push_str(&format!("| [{title}]({name}/README.md) | {summary} |\n"));
    }
    fs::write(path, page).with_context(|| format!("cannot write into {}", folder.display()))
}
