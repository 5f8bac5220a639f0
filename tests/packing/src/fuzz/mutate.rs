//! Damaged modules.

use super::Chance;

/// Damages a module in one of the ways that bytes from strangers are damaged.
pub fn mutate(wasm: &[u8], chance: &mut Chance) -> Vec<u8> {
    let mut bytes = wasm.to_vec();
    for _ in 0..1 + chance.below(4) {
        if bytes.len() < 9 {
            break;
        }
        let at = chance.below(bytes.len());
        match chance.below(8) {
            0 => bytes.truncate(at),
            1 => bytes[at] ^= 1 << chance.below(8),
            2 => bytes[at] = chance.of(&[0, 1, 0x0b, 0x3f, 0x40, 0x7f, 0x80, 0xfc, 0xfd, 0xff]),
            3 => bytes[at] = chance.word() as u8,
            4 => {
                bytes.remove(at);
            }
            5 => bytes.insert(at, chance.word() as u8),
            6 => {
                // A number that is far too large.
                let huge = [0xff, 0xff, 0xff, 0xff, 0x0f];
                let end = (at + huge.len()).min(bytes.len());
                bytes.splice(at..end, huge);
            }
            _ => {
                let end = (at + 1 + chance.below(32)).min(bytes.len());
                let part = bytes[at..end].to_vec();
                let to = chance.below(bytes.len());
                bytes.splice(to..to, part);
            }
        }
    }
    bytes
}
