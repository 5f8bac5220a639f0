/* Escape times: n rows of 256 points, at most 256 steps each. */
#include "kernel.h"

KERNEL {
  uint64_t sum = 0;
  for (uint32_t row = 0; row < n; row++) {
    double ci = -1.25 + 2.5 * (double)(row % 256) / 256.0;
    for (uint32_t column = 0; column < 256; column++) {
      double cr = -2.0 + 2.5 * (double)column / 256.0, zr = 0, zi = 0;
      uint32_t steps = 0;
      while (steps < 256) {
        double rr = zr * zr, ii = zi * zi;
        if (rr + ii > 4.0) break;
        zi = 2.0 * zr * zi + ci;
        zr = rr - ii + cr;
        steps++;
      }
      sum = sum * 31 + steps;
    }
  }
  return sum;
}
