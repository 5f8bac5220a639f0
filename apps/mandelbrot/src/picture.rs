//! The picture's geometry, from a block's index to pixels to points of the plane, and the kernel.

use bayan_guest::{Args, Failure};

/// The longest side of a picture, in pixels.
const MAX_SIDE: u32 = 1 << 16;
/// The most pixels in one block: 8 MiB of counts, within the default output limit of a task.
const MAX_BLOCK_PIXELS: u64 = 1 << 22;

/// What makes a picture. The default is the whole set, in 256 blocks of 50x50.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Pixels across, at least 1.
    pub width: u32,
    /// Pixels down, at least 1.
    pub height: u32,
    /// Pixels along a block's side, at least 1.
    pub block: u32,
    /// Steps after which a point counts as inside, at least 1.
    pub depth: u16,
    /// Real part of the picture's middle.
    pub center_x: f64,
    /// Imaginary part of the picture's middle; it grows upwards.
    pub center_y: f64,
    /// Width of the picture on the plane, above 0. Pixels are square, so the height follows.
    pub scale: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            width: 800,
            height: 800,
            block: 50,
            depth: 2048,
            center_x: -0.5,
            center_y: 0.0,
            scale: 3.0,
        }
    }
}

impl Settings {
    /// The arguments that give a guest these settings.
    pub fn to_args(&self) -> Vec<String> {
        // Rust prints the shortest decimal that reads back as the same float.
        [
            ("width", self.width.to_string()),
            ("height", self.height.to_string()),
            ("block", self.block.to_string()),
            ("depth", self.depth.to_string()),
            ("center-x", self.center_x.to_string()),
            ("center-y", self.center_y.to_string()),
            ("scale", self.scale.to_string()),
        ]
        .into_iter()
        .flat_map(|(name, value)| [format!("--{name}"), value])
        .collect()
    }
}

/// A block's place in the picture, in pixels from the top left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rectangle {
    /// Its leftmost column.
    pub left: u32,
    /// Its topmost row.
    pub top: u32,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

impl Rectangle {
    /// How many pixels it has.
    pub fn pixels(&self) -> usize {
        self.width as usize * self.height as usize
    }
}

/// A picture whose settings have been checked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Picture {
    settings: Settings,
    /// Blocks across.
    columns: u32,
    /// Blocks down.
    rows: u32,
    /// Distance between neighbouring pixels on the plane.
    step: f64,
}

impl Picture {
    /// The picture of `settings`.
    ///
    /// # Errors
    /// A size or the depth is zero or beyond its bound, or a number is not finite.
    pub fn new(settings: Settings) -> Result<Self, Failure> {
        let Settings { width, height, block, depth, center_x, center_y, scale } = settings;
        for (name, side) in [("width", width), ("height", height)] {
            if !(1..=MAX_SIDE).contains(&side) {
                return Err(Failure::usage(format!("--{name} {side}: must be 1 to {MAX_SIDE}")));
            }
        }
        if block == 0 {
            return Err(Failure::usage("--block 0: must be at least 1"));
        }
        if u64::from(block.min(width)) * u64::from(block.min(height)) > MAX_BLOCK_PIXELS {
            return Err(Failure::usage(format!(
                "--block {block}: a block may have {MAX_BLOCK_PIXELS} pixels at most"
            )));
        }
        if depth == 0 {
            return Err(Failure::usage("--depth 0: must be at least 1"));
        }
        for (name, value) in [("center-x", center_x), ("center-y", center_y), ("scale", scale)] {
            if !value.is_finite() {
                return Err(Failure::usage(format!("--{name} {value}: must be finite")));
            }
        }
        if scale <= 0.0 {
            return Err(Failure::usage(format!("--scale {scale}: must be above 0")));
        }
        Ok(Self {
            settings,
            columns: width.div_ceil(block),
            rows: height.div_ceil(block),
            step: scale / f64::from(width),
        })
    }

    /// The picture that a job's arguments describe; missing ones are those of [`Settings::default`].
    ///
    /// # Errors
    /// As [`Picture::new`], and arguments that are unknown or of the wrong type.
    pub fn from_args(args: &mut Args) -> Result<Self, Failure> {
        let default = Settings::default();
        let settings = Settings {
            width: args.take_or("width", default.width)?,
            height: args.take_or("height", default.height)?,
            block: args.take_or("block", default.block)?,
            depth: args.take_or("depth", default.depth)?,
            center_x: args.take_or("center-x", default.center_x)?,
            center_y: args.take_or("center-y", default.center_y)?,
            scale: args.take_or("scale", default.scale)?,
        };
        args.finish()?;
        Self::new(settings)
    }

    /// What the picture was made of.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// How many blocks, and so tasks, the picture has.
    pub fn blocks(&self) -> u64 {
        u64::from(self.columns) * u64::from(self.rows)
    }

    /// Where block `index` lies, if there is one of that index.
    pub fn rectangle(&self, index: u64) -> Option<Rectangle> {
        if index >= self.blocks() {
            return None;
        }
        let Settings { width, height, block, .. } = self.settings;
        let columns = u64::from(self.columns);
        // Both are below MAX_SIDE because the index is below the number of blocks.
        let left = (index % columns) as u32 * block;
        let top = (index / columns) as u32 * block;
        Some(Rectangle {
            left,
            top,
            width: block.min(width - left),
            height: block.min(height - top),
        })
    }

    /// The counts of block `index`, as a task writes them.
    ///
    /// # Errors
    /// There is no such block.
    pub fn block(&self, index: u64) -> Result<Vec<u8>, Failure> {
        let place = self.rectangle(index).ok_or_else(|| {
            Failure::usage(format!("there is no block {index}: the picture has {}", self.blocks()))
        })?;
        let mut counts = Vec::with_capacity(2 * place.pixels());
        for row in place.top..place.top + place.height {
            let y = self.y(row);
            for column in place.left..place.left + place.width {
                let count = escape(self.x(column), y, self.settings.depth);
                counts.extend_from_slice(&count.to_le_bytes());
            }
        }
        Ok(counts)
    }

    /// Puts the output of block `index` into `canvas`, the whole picture row by row.
    ///
    /// Returns whether the output has the block's size and the canvas the picture's; if not, the
    /// canvas is left as it was.
    #[must_use]
    pub fn place(&self, index: u64, output: &[u8], canvas: &mut [u16]) -> bool {
        let width = self.settings.width as usize;
        let fits = canvas.len() == width * self.settings.height as usize;
        let Some(place) = self.rectangle(index).filter(|_| fits) else { return false };
        if output.len() != 2 * place.pixels() {
            return false;
        }
        let rows = canvas.chunks_exact_mut(width).skip(place.top as usize);
        for (row, counts) in rows.zip(output.chunks_exact(2 * place.width as usize)) {
            let pixels = &mut row[place.left as usize..];
            for (pixel, count) in pixels.iter_mut().zip(counts.chunks_exact(2)) {
                *pixel = u16::from_le_bytes([count[0], count[1]]);
            }
        }
        true
    }

    /// Real part at the middle of pixel column `column`.
    fn x(&self, column: u32) -> f64 {
        let from_middle = f64::from(column) + 0.5 - f64::from(self.settings.width) * 0.5;
        self.settings.center_x + from_middle * self.step
    }

    /// Imaginary part at the middle of pixel row `row`.
    fn y(&self, row: u32) -> f64 {
        let from_middle = f64::from(row) + 0.5 - f64::from(self.settings.height) * 0.5;
        self.settings.center_y - from_middle * self.step
    }
}

/// Steps before the orbit of `(x, y)` leaves the disc of radius 2, at most `depth`.
fn escape(x: f64, y: f64, depth: u16) -> u16 {
    let (mut re, mut im) = (0.0, 0.0);
    for count in 0..depth {
        let (re2, im2) = (re * re, im * im);
        if re2 + im2 > 4.0 {
            return count;
        }
        im = 2.0 * re * im + y;
        re = re2 - im2 + x;
    }
    depth
}

#[cfg(test)]
mod tests {
    use bayan_guest::Args;

    use super::{Picture, Rectangle, Settings, escape};

    fn picture(width: u32, height: u32, block: u32) -> Picture {
        Picture::new(Settings { width, height, block, depth: 60, ..Settings::default() }).unwrap()
    }

    #[test]
    fn known_points_have_known_counts() {
        assert_eq!(escape(0.0, 0.0, 100), 100);
        assert_eq!(escape(-1.0, 0.0, 100), 100);
        assert_eq!(escape(-2.0, 0.0, 100), 100);
        // The orbit of 1 is 0, 1, 2, 5: the fourth value is the first beyond 2.
        assert_eq!(escape(1.0, 0.0, 100), 3);
        assert_eq!(escape(2.5, 0.0, 100), 1);
        assert_eq!(escape(1.0, 0.0, 2), 2);
    }

    #[test]
    fn blocks_cover_every_pixel_once() {
        for (width, height, block) in [(800, 800, 50), (7, 5, 4), (3, 9, 1), (10, 4, 64), (1, 1, 1)]
        {
            let picture = picture(width, height, block);
            let mut covered = vec![0; (width * height) as usize];
            for index in 0..picture.blocks() {
                let at = picture.rectangle(index).unwrap();
                for row in at.top..at.top + at.height {
                    for column in at.left..at.left + at.width {
                        covered[(row * width + column) as usize] += 1;
                    }
                }
            }
            assert!(covered.iter().all(|&times| times == 1), "{width}x{height} by {block}");
            assert_eq!(picture.rectangle(picture.blocks()), None);
            assert_eq!(picture.rectangle(u64::MAX), None);
        }
        let corner = Rectangle { left: 4, top: 4, width: 3, height: 1 };
        assert_eq!(picture(7, 5, 4).rectangle(3), Some(corner));
    }

    #[test]
    fn blocks_put_together_are_the_picture_in_one_block() {
        let (small, whole) = (picture(23, 17, 5), picture(23, 17, 23));
        let mut canvas = vec![u16::MAX; 23 * 17];
        for index in 0..small.blocks() {
            assert!(small.place(index, &small.block(index).unwrap(), &mut canvas));
        }
        let joined: Vec<u8> = canvas.iter().flat_map(|count| count.to_le_bytes()).collect();
        assert_eq!(joined, whole.block(0).unwrap());
        // A picture with something in it: points that escape and points that do not.
        assert!(canvas.contains(&60) && canvas.iter().any(|&count| count < 10));
    }

    #[test]
    fn an_output_of_the_wrong_size_is_not_placed() {
        let picture = picture(7, 5, 4);
        let mut canvas = vec![9; 35];
        let block = picture.block(0).unwrap();
        assert!(!picture.place(0, &block[1..], &mut canvas));
        assert!(!picture.place(1, &block, &mut canvas));
        assert!(!picture.place(4, &block, &mut canvas));
        assert!(!picture.place(0, &block, &mut canvas[1..]));
        assert!(canvas.iter().all(|&count| count == 9));
    }

    #[test]
    fn the_set_is_symmetric_about_the_real_axis() {
        let picture = picture(40, 40, 40);
        let counts = picture.block(0).unwrap();
        let rows: Vec<&[u8]> = counts.chunks_exact(80).collect();
        assert!((0..20).all(|row| rows[row] == rows[39 - row]));
    }

    #[test]
    fn settings_survive_the_way_through_arguments() {
        let settings = Settings {
            width: 320,
            center_x: -0.743_643_887_037_151,
            center_y: 1.0 / 3.0,
            scale: 1e-12,
            ..Settings::default()
        };
        let mut args = Args::parse(settings.to_args()).unwrap();
        assert_eq!(Picture::from_args(&mut args).unwrap().settings(), &settings);
    }

    #[test]
    fn settings_out_of_bounds_are_refused() {
        let default = Settings::default();
        for bad in [
            Settings { width: 0, ..default },
            Settings { height: 65_537, ..default },
            Settings { block: 0, ..default },
            Settings { width: 65_536, height: 65_536, block: 65_536, ..default },
            Settings { depth: 0, ..default },
            Settings { scale: 0.0, ..default },
            Settings { scale: f64::INFINITY, ..default },
            Settings { center_x: f64::NAN, ..default },
        ] {
            assert_eq!(Picture::new(bad).unwrap_err().code(), 2, "{bad:?}");
        }
        // A block larger than the picture is the whole picture.
        assert_eq!(Picture::new(Settings { block: u32::MAX, ..default }).unwrap().blocks(), 1);
    }
}
