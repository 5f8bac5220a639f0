/* Adler-32 of 65536 bytes, n times. */
#include "kernel.h"
#define SIZE 65536

static uint8_t bytes[SIZE];

KERNEL {
  uint32_t state = 12345;
  for (uint32_t i = 0; i < SIZE; i++) bytes[i] = next(&state) >> 9;
  uint32_t a = 1, b = 0;
  for (uint32_t round = 0; round < n; round++) {
    for (uint32_t start = 0; start < SIZE; start += 4096) {
      for (uint32_t i = start; i < start + 4096; i++) {
        a += bytes[i];
        b += a;
      }
      a %= 65521;
      b %= 65521;
    }
  }
  return (uint64_t)b << 32 | a;
}
