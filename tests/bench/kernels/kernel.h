/* What every kernel shares. A kernel is one function: `run(n)` does n units of work and returns a
 * checksum of what it computed, the same for every compiler. */
#include <stdint.h>
#define KERNEL __attribute__((visibility("default"), noinline)) uint64_t run(uint32_t n)

/* A stream of numbers to fill buffers with. */
static inline uint32_t next(uint32_t *state) {
  uint32_t x = *state;
  x ^= x << 13;
  x ^= x >> 17;
  x ^= x << 5;
  return *state = x;
}
