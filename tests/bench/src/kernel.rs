//! The kernels, and what is expected of each.

/// A kernel: C with one function, `run(n)`.
#[derive(Debug, Clone, Copy)]
pub struct Kernel {
    /// Its name, and that of its source.
    pub name: &'static str,
    /// C.
    pub source: &'static str,
    /// Packed code takes at most this much of what the faster native code takes.
    pub native: Option<f64>,
    /// Packed code takes at most this much of what the code takes unpacked.
    pub tax: Option<f64>,
}

/// What all kernels include.
pub const HEADER: &str = include_str!("../kernels/kernel.h");
/// Runs a kernel natively.
pub const NATIVE: &str = include_str!("../kernels/native.c");

macro_rules! kernels {
    ($($name:literal $native:expr, $tax:expr;)*) => {
        /// All kernels. Those without expectations are there for information.
        pub const KERNELS: &[Kernel] = &[$(Kernel {
            name: $name,
            source: include_str!(concat!("../kernels/", $name, ".c")),
            native: $native,
            tax: $tax,
        }),*];
    };
}

kernels! {
    "mandelbrot" Some(1.05), Some(1.05);
    "integers" Some(1.05), Some(1.05);
    "sieve" Some(1.85), Some(1.20);
    "histogram" None, Some(1.20);
    "adler" None, Some(1.20);
    "search" None, Some(1.20);
    "matrix" None, Some(1.15);
    "dot" None, Some(1.15);
    "stencil" None, Some(1.15);
    "collatz" None, None;
    "fib" None, None;
    "parser" None, None;
    "quicksort" None, None;
    "copies" None, None;
}
