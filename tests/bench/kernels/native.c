/* Runs a kernel natively: for each n on standard input, a line with the checksum and the nanoseconds
 * of processor time that it took. */
#define _POSIX_C_SOURCE 199309L
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

uint64_t run(uint32_t n);

static uint64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

int main(void) {
  uint32_t n;
  while (scanf("%" SCNu32, &n) == 1) {
    uint64_t start = now();
    uint64_t sum = run(n);
    printf("%" PRIu64 " %" PRIu64 "\n", sum, now() - start);
    fflush(stdout);
  }
}
