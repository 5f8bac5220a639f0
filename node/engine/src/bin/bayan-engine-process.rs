//! An engine process by itself: what tests and benchmarks start instead of the whole program.

fn main() {
    bayan_engine::child_main()
}
