/* The same product in the other order: sums of 256 products, b read along columns; n rows. */
#include "kernel.h"
#define SIZE 256

static double a[SIZE][SIZE], b[SIZE][SIZE], c[SIZE][SIZE];

KERNEL {
  for (uint32_t i = 0; i < SIZE; i++)
    for (uint32_t j = 0; j < SIZE; j++) {
      a[i][j] = (double)(i + 2 * j) / 512.0;
      b[i][j] = (double)(3 * i + j) / 512.0;
    }
  for (uint32_t row = 0; row < n; row++) {
    uint32_t i = row % SIZE;
    for (uint32_t j = 0; j < SIZE; j++) {
      double total = 0;
      for (uint32_t k = 0; k < SIZE; k++) total += a[i][k] * b[k][j];
      c[i][j] = total;
    }
  }
  uint64_t sum = 0;
  for (uint32_t i = 0; i < SIZE; i++)
    for (uint32_t j = 0; j < SIZE; j++) sum = sum * 31 + (uint64_t)c[i][j];
  return sum;
}
