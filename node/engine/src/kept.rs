//! What an engine process has been handed for many attempts: its parent's account of it.

use std::io;

use crate::{
    queue::Order,
    socket::Outbound,
    wire::{self, Request},
};

/// Modules that a process keeps ready.
const MAX_MODULES: usize = 8;
/// Bytes of data files that a process keeps, besides those that the next attempt needs.
const MAX_DATA: u64 = 1 << 30;

/// Least recently used first.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    modules: Vec<Item>,
    data: Vec<Item>,
}

#[derive(Debug, Clone, Copy)]
struct Item {
    id: u64,
    bytes: u64,
}

impl Kept {
    /// Bytes of all of it.
    pub(crate) fn bytes(&self) -> u64 {
        let items = self.modules.iter().chain(&self.data);
        items.fold(0, |sum, item| sum.saturating_add(item.bytes))
    }

    /// Descriptors that [`Self::hand_over`] would send.
    pub(crate) fn missing(&self, order: &Order) -> usize {
        let lacks = |items: &[Item], id| !items.iter().any(|item| item.id == id);
        let data = order.task.data.iter().filter(|(_, data)| lacks(&self.data, data.id()));
        data.count() + usize::from(lacks(&self.modules, order.module.id()))
    }

    /// Sends what an attempt needs and the process lacks, and has it forget what is too much.
    pub(crate) fn hand_over(&mut self, order: &Order, out: &mut Outbound) -> io::Result<()> {
        let module = &order.module;
        if !touch(&mut self.modules, module.id()) {
            if self.modules.len() >= MAX_MODULES {
                forget(&mut self.modules, 0, out);
            }
            let request = Request::Load { id: module.id() };
            out.push(frame(&request), module.artefact().try_clone_to_owned()?);
            self.modules.push(Item { id: module.id(), bytes: module.artefact_len() });
        }
        for (_, data) in &order.task.data {
            if !touch(&mut self.data, data.id()) {
                let request = Request::Data { id: data.id(), len: data.len() };
                out.push(frame(&request), data.fd().try_clone_to_owned()?);
                self.data.push(Item { id: data.id(), bytes: data.len() });
            }
        }
        // Those needed now are the last ones.
        let needed = order.task.data.len();
        while self.data.len() > needed && total(&self.data) > MAX_DATA {
            forget(&mut self.data, 0, out);
        }
        Ok(())
    }
}

fn total(items: &[Item]) -> u64 {
    items.iter().fold(0, |sum, item| sum.saturating_add(item.bytes))
}

/// Marks an item as used last. False if it is not there.
fn touch(items: &mut Vec<Item>, id: u64) -> bool {
    let Some(index) = items.iter().position(|item| item.id == id) else { return false };
    let item = items.remove(index);
    items.push(item);
    true
}

fn forget(items: &mut Vec<Item>, index: usize, out: &mut Outbound) {
    let item = items.remove(index);
    out.buffer().extend_from_slice(&frame(&Request::Forget { id: item.id }));
}

fn frame(request: &Request<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    wire::write(request, &mut bytes).expect("a few numbers fit into a frame");
    bytes
}
