/* An integer loop with a branch that is hard to predict: lengths of 3x+1 chains; n times 64 starts. */
#include "kernel.h"

KERNEL {
  uint64_t sum = 0;
  for (uint32_t start = 1; start <= n * 64; start++) {
    uint64_t x = start;
    uint32_t length = 0;
    while (x != 1) {
      x = x & 1 ? 3 * x + 1 : x >> 1;
      length++;
    }
    sum = sum * 31 + length;
  }
  return sum;
}
