//! JSON pointers (RFC 6901), and the patterns built on them that name parts to leave out.
//!
//! A pointer names at most one value of a document. A pattern names any number of them: its segment
//! `*` stands for every element of an array and every member of an object.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// An RFC 6901 pointer: `""` is the whole document, `/a/0` the first element of member `a`.
///
/// In a segment, `~1` stands for `/` and `~0` for `~`. Against an object a segment is a member's
/// exact name, code point by code point; against an array it is an index without leading zeros. `-`
/// (the element after the last) names nothing, since a scan only reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer {
    text: String,
    segments: Vec<String>,
}

/// Why a text is not an RFC 6901 pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPointer {
    /// RFC 6901 section 3: every segment has its slash.
    #[error("a JSON pointer is empty or begins with \"/\"")]
    NoSlash,
    /// RFC 6901 section 3: no other escapes than these two.
    #[error("in a JSON pointer \"~\" is followed by 0 (for \"~\") or 1 (for \"/\")")]
    BadEscape,
}

impl Pointer {
    /// Reads the string form of RFC 6901 section 3 (not the URI fragment form).
    pub fn parse(text: &str) -> Result<Self, BadPointer> {
        let mut parts = text.split('/');
        if parts.next() != Some("") {
            return Err(BadPointer::NoSlash);
        }
        Ok(Self { text: text.to_owned(), segments: parts.map(unescape).collect::<Result<_, _>>()? })
    }

    /// The segments, unescaped; none for the whole document.
    pub fn segments(&self) -> &[String] {
        &self.segments
    }
}

fn unescape(segment: &str) -> Result<String, BadPointer> {
    let mut plain = String::with_capacity(segment.len());
    let mut chars = segment.chars();
    while let Some(char) = chars.next() {
        plain.push(match char {
            '~' => match chars.next() {
                Some('0') => '~',
                Some('1') => '/',
                _ => return Err(BadPointer::BadEscape),
            },
            char => char,
        });
    }
    Ok(plain)
}

impl FromStr for Pointer {
    type Err = BadPointer;

    fn from_str(text: &str) -> Result<Self, BadPointer> {
        Self::parse(text)
    }
}

/// The text it was read from.
impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A pointer whose segments `*` match every element of an array and every member of an object.
///
/// RFC 6901 has no such segment, so there is no way to name only the member that is called `*`,
/// except to turn an exact [`Pointer`] into a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    pointer: Pointer,
    wild: bool,
}

impl Pattern {
    /// Reads a pointer in which a whole segment `*` is a wildcard.
    pub fn parse(text: &str) -> Result<Self, BadPointer> {
        Ok(Self { pointer: Pointer::parse(text)?, wild: true })
    }

    /// The segments, unescaped; `*` is the wildcard (but a name in a pattern made from a pointer).
    pub fn segments(&self) -> &[String] {
        self.pointer.segments()
    }

    fn is_wild(&self, segment: &str) -> bool {
        self.wild && segment == "*"
    }
}

/// The pattern that matches what the pointer names and nothing else, even if a name in it is `*`.
impl From<Pointer> for Pattern {
    fn from(pointer: Pointer) -> Self {
        Self { pointer, wild: false }
    }
}

impl FromStr for Pattern {
    type Err = BadPointer;

    fn from_str(text: &str) -> Result<Self, BadPointer> {
        Self::parse(text)
    }
}

/// The text it was read from.
impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pointer.fmt(f)
    }
}

/// Patterns and pointers as one tree of segments, so that a step into a document costs a look-up
/// instead of a comparison with each of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    /// The root is the first node; an empty tree has none, and then nothing is tracked at all.
    nodes: Vec<Node>,
}

/// What is asked of the value at the end of a path, and the steps that lead on from there.
#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    pub(super) ignored: bool,
    /// Places in the list of captures; the same pointer may be listed more than once.
    pub(super) captures: Vec<usize>,
    every: Option<usize>,
    names: BTreeMap<Vec<u8>, usize>,
    /// Those of the names that are also an array index in the form of RFC 6901 section 4.
    indexes: BTreeMap<usize, usize>,
}

impl Tree {
    pub(super) fn new(ignore: &[Pattern], capture: &[Pointer]) -> Self {
        let mut tree = Self::default();
        for pattern in ignore {
            let wild = |segment: &str| pattern.is_wild(segment);
            tree.change_at(pattern.segments(), wild, |node| node.ignored = true);
        }
        for (place, pointer) in capture.iter().enumerate() {
            let change = |node: &mut Node| node.captures.push(place);
            tree.change_at(pointer.segments(), |_| false, change);
        }
        tree
    }

    fn change_at(
        &mut self,
        segments: &[String],
        is_wild: impl Fn(&str) -> bool,
        change: impl FnOnce(&mut Node),
    ) {
        if self.nodes.is_empty() {
            self.nodes.push(Node::default());
        }
        let mut id = 0;
        for segment in segments {
            let fresh = self.nodes.len();
            let Some(node) = self.nodes.get_mut(id) else {
                return;
            };
            id = node.step(segment, is_wild(segment), fresh);
            if id == fresh {
                self.nodes.push(Node::default());
            }
        }
        if let Some(node) = self.nodes.get_mut(id) {
            change(node);
        }
    }
}

/// How far each path of a [`Tree`] has come at the place where a scan stands.
pub(super) struct Trail<'t> {
    tree: &'t Tree,
    /// What the open values have reached, the innermost last.
    reached: Vec<&'t Node>,
}

/// What one value has reached: a stretch of the trail, and an empty one for nearly every value.
#[derive(Clone, Copy)]
pub(super) struct Reached {
    from: usize,
    to: usize,
}

impl<'t> Trail<'t> {
    /// Starts at the whole document.
    pub(super) fn new(tree: &'t Tree) -> (Self, Reached) {
        let reached = Vec::from_iter(tree.nodes.first());
        let root = Reached { from: 0, to: reached.len() };
        (Self { tree, reached }, root)
    }

    /// Steps from a value into its member `name`.
    pub(super) fn enter_member(&mut self, value: Reached, name: &[u8]) -> Reached {
        self.enter(value, |node| node.names.get(name).copied())
    }

    /// Steps from a value into its element `index`.
    pub(super) fn enter_element(&mut self, value: Reached, index: usize) -> Reached {
        self.enter(value, |node| node.indexes.get(&index).copied())
    }

    fn enter(&mut self, value: Reached, exact: impl Fn(&Node) -> Option<usize>) -> Reached {
        // The sibling before, and all that is inside it, is done with.
        self.reached.truncate(value.to);
        for place in value.from..value.to {
            let Some(node) = self.reached.get(place).copied() else {
                continue;
            };
            let next = [exact(node), node.every].into_iter().flatten();
            let next = next.flat_map(|id| self.tree.nodes.get(id));
            self.reached.extend(next);
        }
        Reached { from: value.to, to: self.reached.len() }
    }

    /// What is asked of a value.
    pub(super) fn asked(&self, value: Reached) -> &[&'t Node] {
        self.reached.get(value.from..value.to).unwrap_or_default()
    }
}

impl Node {
    /// The node that `segment` leads to, which becomes `fresh` if there is none yet.
    fn step(&mut self, segment: &str, wild: bool, fresh: usize) -> usize {
        if wild {
            return *self.every.get_or_insert(fresh);
        }
        let id = *self.names.entry(segment.into()).or_insert(fresh);
        if let Some(index) = array_index(segment) {
            self.indexes.insert(index, id);
        }
        id
    }
}

/// RFC 6901 section 4: `0`, or digits that do not begin with `0`.
fn array_index(segment: &str) -> Option<usize> {
    let digits_only = segment.bytes().all(|byte| byte.is_ascii_digit());
    let leading_zero = segment.len() > 1 && segment.starts_with('0');
    // An index that does not fit is past the end of any array.
    (digits_only && !leading_zero).then(|| segment.parse().ok()).flatten()
}
