/* Counts the values of 65536 bytes, n times. */
#include "kernel.h"
#define SIZE 65536

static uint8_t bytes[SIZE];
static uint32_t counts[256];

KERNEL {
  uint32_t state = 12345;
  for (uint32_t i = 0; i < SIZE; i++) bytes[i] = next(&state) >> 9;
  for (uint32_t i = 0; i < 256; i++) counts[i] = 0;
  for (uint32_t round = 0; round < n; round++)
    for (uint32_t i = 0; i < SIZE; i++) counts[bytes[i]]++;
  uint64_t sum = 0;
  for (uint32_t i = 0; i < 256; i++) sum = sum * 31 + counts[i];
  return sum;
}
