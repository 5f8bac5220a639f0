/* Sieve of Eratosthenes, one byte a number: primes below 65536, n times. */
#include "kernel.h"
#define LIMIT 65536

static uint8_t composite[LIMIT];

KERNEL {
  uint64_t sum = 0;
  for (uint32_t round = 0; round < n; round++) {
    for (uint32_t i = 0; i < LIMIT; i++) composite[i] = 0;
    for (uint32_t i = 2; i * i < LIMIT; i++) {
      if (composite[i]) continue;
      for (uint32_t j = i * i; j < LIMIT; j += i) composite[j] = 1;
    }
    uint32_t primes = 0;
    for (uint32_t i = 2; i < LIMIT; i++) primes += !composite[i];
    sum = sum * 31 + primes;
  }
  return sum;
}
