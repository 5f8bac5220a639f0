/* Product of two 256 x 256 matrices of doubles, n times. */
#include "kernel.h"
#define SIZE 256

static double a[SIZE][SIZE], b[SIZE][SIZE], c[SIZE][SIZE];

KERNEL {
  for (uint32_t i = 0; i < SIZE; i++)
    for (uint32_t j = 0; j < SIZE; j++) {
      a[i][j] = (double)(i + 2 * j) / 512.0;
      b[i][j] = (double)(3 * i + j) / 512.0;
      c[i][j] = 0;
    }
  for (uint32_t round = 0; round < n; round++)
    for (uint32_t i = 0; i < SIZE; i++)
      for (uint32_t k = 0; k < SIZE; k++) {
        double factor = a[i][k];
        for (uint32_t j = 0; j < SIZE; j++) c[i][j] += factor * b[k][j];
      }
  uint64_t sum = 0;
  for (uint32_t i = 0; i < SIZE; i++)
    for (uint32_t j = 0; j < SIZE; j++) sum = sum * 31 + (uint64_t)c[i][j];
  return sum;
}
