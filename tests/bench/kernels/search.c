/* Looks for bytes in a buffer, as memchr does, and counts lines: 65536 bytes, n times. */
#include "kernel.h"
#define SIZE 65536

static uint8_t bytes[SIZE + 1];

static uint32_t find(uint32_t from, uint8_t wanted) {
  while (bytes[from] != wanted) from++;
  return from;
}

KERNEL {
  uint32_t state = 12345;
  for (uint32_t i = 0; i < SIZE; i++) bytes[i] = next(&state) >> 9;
  bytes[SIZE] = 10;
  uint64_t sum = 0;
  for (uint32_t round = 0; round < n; round++) {
    uint32_t lines = 0;
    for (uint32_t at = 0; at < SIZE; at = find(at, 10) + 1) lines++;
    sum = sum * 31 + lines;
  }
  return sum;
}
