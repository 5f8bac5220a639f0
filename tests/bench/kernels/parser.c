/* A state machine over text: words, numbers, strings, comments; 65536 bytes, n times. */
#include "kernel.h"
#define SIZE 65536

static uint8_t text[SIZE];
static const char alphabet[] = "abcdefgh 0123456789 \"\\#\n (),;.xyz";

KERNEL {
  uint32_t state = 12345;
  for (uint32_t i = 0; i < SIZE; i++) text[i] = alphabet[next(&state) % (sizeof alphabet - 1)];
  uint64_t sum = 0;
  for (uint32_t round = 0; round < n; round++) {
    uint32_t words = 0, numbers = 0, strings = 0, comments = 0, others = 0;
    enum { BLANK, WORD, NUMBER, STRING, ESCAPE, COMMENT } at = BLANK;
    for (uint32_t i = 0; i < SIZE; i++) {
      uint8_t c = text[i];
      switch (at) {
      case STRING:
        if (c == '"') at = BLANK;
        else if (c == '\\') at = ESCAPE;
        continue;
      case ESCAPE: at = STRING; continue;
      case COMMENT:
        if (c == '\n') at = BLANK;
        continue;
      case WORD:
        if (c >= 'a' && c <= 'z') continue;
        break;
      case NUMBER:
        if ((c >= '0' && c <= '9') || c == '.') continue;
        break;
      case BLANK: break;
      }
      switch (c) {
      case ' ': case '\n': at = BLANK; break;
      case '"': at = STRING; strings++; break;
      case '#': at = COMMENT; comments++; break;
      case '(': case ')': case ',': case ';': case '.': case '\\': at = BLANK; others++; break;
      case '0': case '1': case '2': case '3': case '4':
      case '5': case '6': case '7': case '8': case '9': at = NUMBER; numbers++; break;
      default: at = WORD; words++; break;
      }
    }
    sum = sum * 31 + words + 3 * numbers + 5 * strings + 7 * comments + 11 * others;
  }
  return sum;
}
