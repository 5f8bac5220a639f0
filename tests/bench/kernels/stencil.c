/* Five-point stencil on 256 x 256 doubles, n sweeps to and fro. */
#include "kernel.h"
#define SIZE 256

static double grid[2][SIZE][SIZE];

KERNEL {
  for (uint32_t i = 0; i < SIZE; i++)
    for (uint32_t j = 0; j < SIZE; j++) grid[0][i][j] = grid[1][i][j] = (double)(i * j % 97);
  for (uint32_t sweep = 0; sweep < n; sweep++) {
    double(*from)[SIZE] = grid[sweep % 2], (*to)[SIZE] = grid[1 - sweep % 2];
    for (uint32_t i = 1; i < SIZE - 1; i++)
      for (uint32_t j = 1; j < SIZE - 1; j++)
        to[i][j] =
            0.5 * from[i][j] + 0.125 * (from[i - 1][j] + from[i + 1][j] + from[i][j - 1] + from[i][j + 1]);
  }
  uint64_t sum = 0;
  for (uint32_t i = 0; i < SIZE; i++)
    for (uint32_t j = 0; j < SIZE; j++) sum = sum * 31 + (uint64_t)(grid[n % 2][i][j] * 1024.0);
  return sum;
}
