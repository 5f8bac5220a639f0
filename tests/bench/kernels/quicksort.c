/* Sorts 16384 numbers, n times. */
#include "kernel.h"
#define SIZE 16384

static uint32_t numbers[SIZE];

static void sort(uint32_t *first, uint32_t *last) {
  while (last - first > 0) {
    uint32_t pivot = first[(last - first) / 2], *low = first, *high = last;
    while (low <= high) {
      while (*low < pivot) low++;
      while (*high > pivot) high--;
      if (low <= high) {
        uint32_t kept = *low;
        *low++ = *high;
        *high-- = kept;
      }
    }
    sort(first, high);
    first = low;
  }
}

KERNEL {
  uint32_t state = 12345;
  uint64_t sum = 0;
  for (uint32_t round = 0; round < n; round++) {
    for (uint32_t i = 0; i < SIZE; i++) numbers[i] = next(&state);
    sort(numbers, numbers + SIZE - 1);
    for (uint32_t i = 0; i < SIZE; i += 1024) sum = sum * 31 + numbers[i];
  }
  return sum;
}
