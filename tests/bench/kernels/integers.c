/* An integer loop: xorshift, multiplications and rotations; n times 4096 steps. */
#include "kernel.h"

KERNEL {
  uint64_t a = 0x9e3779b97f4a7c15u, sum = 0;
  for (uint32_t round = 0; round < n; round++) {
    for (uint32_t i = 0; i < 4096; i++) {
      a ^= a << 13;
      a ^= a >> 7;
      a ^= a << 17;
      uint64_t product = a * 0xbf58476d1ce4e5b9u;
      sum = (sum << 5 | sum >> 59) ^ product ^ i;
    }
  }
  return sum;
}
