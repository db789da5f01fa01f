//! The gate's two inputs.

use std::ops::{Index, IndexMut};

use oncegate::gate::engine::InputKind;

/// The stream's name.
pub fn name(input: InputKind) -> &'static str {
    match input {
        InputKind::Actions => "ACTIONS",
        InputKind::Reports => "ONCEGATE_REPORTS",
    }
}

pub fn named(stream: &str) -> Option<InputKind> {
    InputKind::ALL.into_iter().find(|input| name(*input) == stream)
}

/// One of each.
#[derive(Clone, Debug, Default)]
pub struct Both<T> {
    actions: T,
    reports: T,
}

impl<T> Both<T> {
    pub fn new(mut one: impl FnMut(InputKind) -> T) -> Self {
        Self { actions: one(InputKind::Actions), reports: one(InputKind::Reports) }
    }

    pub fn all(&self) -> impl Iterator<Item = &T> {
        [&self.actions, &self.reports].into_iter()
    }
}

impl<T> Index<InputKind> for Both<T> {
    type Output = T;

    fn index(&self, input: InputKind) -> &T {
        match input {
            InputKind::Actions => &self.actions,
            InputKind::Reports => &self.reports,
        }
    }
}

impl<T> IndexMut<InputKind> for Both<T> {
    fn index_mut(&mut self, input: InputKind) -> &mut T {
        match input {
            InputKind::Actions => &mut self.actions,
            InputKind::Reports => &mut self.reports,
        }
    }
}
