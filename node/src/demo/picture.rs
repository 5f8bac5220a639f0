//! The picture: iteration counts put together block by block, and the PNG drawn from them.

use std::{fs::File, io::BufWriter, path::Path};

use anyhow::{Context as _, ensure};
use bayan_protocol::id::PeerId;
use mandelbrot::Picture;

use super::Roles;

/// Blocks put together so far, and who computed each.
pub(crate) struct Canvas {
    width: u32,
    height: u32,
    counts: Vec<u16>,
    /// Each block's rectangle (x, y, width, height) and the first peer that vouched for it.
    blocks: Vec<([u32; 4], Option<PeerId>)>,
}

impl Canvas {
    pub(crate) fn new(width: u32, height: u32) -> Self {
        Self {
            width,
            height,
            counts: vec![0; width as usize * height as usize],
            blocks: Vec::new(),
        }
    }

    /// The picture as numbers, row by row.
    pub(crate) fn counts(&self) -> &[u16] {
        &self.counts
    }

    pub(crate) fn place(
        &mut self,
        picture: &Picture,
        block: u64,
        bytes: &[u8],
        by: Option<PeerId>,
    ) -> anyhow::Result<()> {
        let rectangle =
            picture.rectangle(block).with_context(|| format!("there is no block {block}"))?;
        ensure!(
            picture.place(block, bytes, &mut self.counts),
            "block {block} has another shape than the picture"
        );
        self.blocks.push(([rectangle.left, rectangle.top, rectangle.width, rectangle.height], by));
        Ok(())
    }

    /// Writes the PNG, each block's border in its peer's colour.
    pub(crate) fn write(&self, path: &Path, depth: u16, roles: &Roles) -> anyhow::Result<()> {
        let mut pixels: Vec<u8> =
            self.counts.iter().flat_map(|count| shade(*count, depth)).collect();
        for ([x, y, width, height], by) in &self.blocks {
            let Some(role) = by.and_then(|peer| roles.get(&peer)) else { continue };
            for row in *y..y + height {
                for column in *x..x + width {
                    let edge = row == *y
                        || column == *x
                        || row == y + height - 1
                        || column == x + width - 1;
                    if edge {
                        let at = 3 * (row as usize * self.width as usize + column as usize);
                        pixels[at..at + 3].copy_from_slice(&role.colour);
                    }
                }
            }
        }
        let file =
            File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        let mut encoder = png::Encoder::new(BufWriter::new(file), self.width, self.height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let written =
            encoder.write_header().and_then(|mut writer| writer.write_image_data(&pixels));
        written.with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Black inside the set, and outside a shade that grows with the logarithm of the count.
fn shade(count: u16, depth: u16) -> [u8; 3] {
    if count >= depth {
        return [0, 0, 0];
    }
    let share = f64::from(count + 1).ln() / f64::from(depth).ln();
    let level = |low: f64, high: f64| (low + (high - low) * share).clamp(0.0, 255.0) as u8;
    [level(12.0, 255.0), level(16.0, 245.0), level(48.0, 225.0)]
}
