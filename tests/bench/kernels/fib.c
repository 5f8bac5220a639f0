/* Calls: the naive Fibonacci number of 20, n times. */
#include "kernel.h"

static __attribute__((noinline)) uint32_t fib(uint32_t n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }

KERNEL {
  uint64_t sum = 0;
  for (uint32_t i = 0; i < n; i++) sum = sum * 31 + fib(20 - (i & 1));
  return sum;
}
