//! The one directory a guest sees: a flat, read-only list of named byte strings.

use alloc::{string::String, sync::Arc, vec::Vec};

use crate::abi::Errno;

/// Where the directory appears.
pub(crate) const DIRECTORY_NAME: &[u8] = b"/data";

/// Bytes of one file name.
pub const MAX_NAME: usize = 255;

/// A data file's name cannot be a directory entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NameError {
    /// Empty, `.`, `..`, too long, or with a slash or a zero byte.
    Malformed(String),
    /// Two files have this name.
    Repeated(String),
}

impl core::fmt::Display for NameError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Malformed(name) => write!(f, "{name:?} is not a file name"),
            Self::Repeated(name) => write!(f, "two data files are named {name:?}"),
        }
    }
}

impl core::error::Error for NameError {}

/// The files of `/data`, sorted by the bytes of their names.
pub(crate) struct DataFiles {
    files: Vec<(String, Arc<[u8]>)>,
}

/// What a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Node {
    Directory,
    File(usize),
}

impl DataFiles {
    pub(crate) fn new(mut files: Vec<(String, Arc<[u8]>)>) -> Result<Self, NameError> {
        files.sort_by(|a, b| a.0.cmp(&b.0));
        if let Some((name, _)) = files.iter().find(|(name, _)| !is_file_name(name)) {
            return Err(NameError::Malformed(name.clone()));
        }
        if let Some(pair) = files.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(NameError::Repeated(pair[0].0.clone()));
        }
        Ok(Self { files })
    }

    pub(crate) fn content(&self, index: usize) -> &[u8] {
        self.files.get(index).map_or(&[], |(_, content)| content)
    }

    /// Names in directory order, from the `skip`th on.
    pub(crate) fn names_from(&self, skip: usize) -> impl Iterator<Item = &str> {
        self.files.iter().skip(skip).map(|(name, _)| name.as_str())
    }

    /// Walks `path` from the directory (spec GUEST-36). There are no links and no subdirectories.
    pub(crate) fn resolve(&self, path: &[u8]) -> Result<Node, Errno> {
        if path.is_empty() {
            return Err(Errno::Noent);
        }
        if path.contains(&0) {
            return Err(Errno::Inval);
        }
        if path[0] == b'/' {
            return Err(Errno::Notcapable);
        }
        let mut here = Node::Directory;
        for component in path.split(|byte| *byte == b'/') {
            here = match (here, component) {
                (Node::File(_), _) => return Err(Errno::Notdir),
                (Node::Directory, b"" | b".") => Node::Directory,
                (Node::Directory, b"..") => return Err(Errno::Notcapable),
                (Node::Directory, name) => Node::File(self.find(name).ok_or(Errno::Noent)?),
            };
        }
        Ok(here)
    }

    fn find(&self, name: &[u8]) -> Option<usize> {
        self.files.binary_search_by(|(file, _)| file.as_bytes().cmp(name)).ok()
    }
}

fn is_file_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && name.len() <= MAX_NAME && !name.contains(['/', '\0'])
}

#[cfg(test)]
mod tests {
    use alloc::{string::ToString, vec};

    use super::*;

    fn files(names: &[&str]) -> Result<DataFiles, NameError> {
        DataFiles::new(
            names.iter().map(|name| (name.to_string(), Arc::from(name.as_bytes()))).collect(),
        )
    }

    #[test]
    fn paths_stay_inside_the_directory() {
        let data = files(&["b", "a", "...", "ä"]).unwrap();
        for (path, expected) in [
            ("a", Ok(Node::File(1))),
            ("./a", Ok(Node::File(1))),
            (".//./b", Ok(Node::File(2))),
            ("...", Ok(Node::File(0))),
            ("ä", Ok(Node::File(3))),
            (".", Ok(Node::Directory)),
            ("./", Ok(Node::Directory)),
            ("", Err(Errno::Noent)),
            ("c", Err(Errno::Noent)),
            ("c/d", Err(Errno::Noent)),
            ("c/..", Err(Errno::Noent)),
            ("a/", Err(Errno::Notdir)),
            ("a/.", Err(Errno::Notdir)),
            ("a/..", Err(Errno::Notdir)),
            ("..", Err(Errno::Notcapable)),
            ("./../a", Err(Errno::Notcapable)),
            ("/data/a", Err(Errno::Notcapable)),
            ("a\0b", Err(Errno::Inval)),
        ] {
            assert_eq!(data.resolve(path.as_bytes()), expected, "{path:?}");
        }
        assert_eq!(data.resolve(b"\xff"), Err(Errno::Noent));
        assert_eq!(data.names_from(1).collect::<Vec<_>>(), vec!["a", "b", "ä"]);
    }

    #[test]
    fn names_that_cannot_be_entries_are_refused() {
        let long = "x".repeat(MAX_NAME + 1);
        for name in ["", ".", "..", "a/b", "a\0", long.as_str()] {
            assert_eq!(files(&[name]).err(), Some(NameError::Malformed(name.to_string())));
        }
        assert_eq!(files(&["a", "b", "a"]).err(), Some(NameError::Repeated("a".to_string())));
    }
}
