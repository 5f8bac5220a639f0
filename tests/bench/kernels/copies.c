/* Copies of 1 to 4096 bytes by memcpy, n times 256. */
#include "kernel.h"
#include <string.h>
#define SIZE 65536

static uint8_t bytes[2][SIZE];

KERNEL {
  uint32_t state = 12345;
  for (uint32_t i = 0; i < SIZE; i++) bytes[0][i] = next(&state) >> 9, bytes[1][i] = 0;
  for (uint32_t round = 0; round < n; round++) {
    for (uint32_t i = 0; i < 256; i++) {
      uint32_t length = (next(&state) >> 8) % 4096 + 1;
      uint32_t from = (next(&state) >> 8) % (SIZE - 4096), to = (next(&state) >> 8) % (SIZE - 4096);
      memcpy(&bytes[1 - i % 2][to], &bytes[i % 2][from], length);
    }
  }
  uint64_t sum = 0;
  for (uint32_t i = 0; i < SIZE; i++) sum = sum * 31 + bytes[0][i] + bytes[1][i];
  return sum;
}
