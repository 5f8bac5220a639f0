/*
 * Counts the k-mers of nucleotide sequences: every run of K letters, on the strand as given.
 *
 *     kmers [-k K]        K from 1 to 15, 8 if not given
 *
 * Standard input is FASTA or bare sequence. A line that starts with '>' or ';' is a header and
 * starts a new record; the lines up to the next header are one sequence, however they are wrapped,
 * and blanks are passed over. Letters count in either case. A k-mer with any other letter than
 * A, C, G and T in it is not counted.
 *
 * Standard output is one line "KMER COUNT" for each k-mer seen, sorted by k-mer: the same counts
 * are the same bytes. Exit codes: 0 success, 1 input, output or memory failed, 2 bad arguments.
 *
 * C99 and the C library only; nothing here is special to WebAssembly.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_K 15 /* two bits a letter: a k-mer and its end fit in 32 bits */
#define DEFAULT_K 8
#define FIRST_SLOTS 1024u
#define MAX_SLOTS ((size_t)1 << 31)

struct slot {
    uint32_t kmer; /* two bits a letter, the first letter highest */
    uint64_t count; /* 0 marks an empty slot */
};

/* An open-addressed table, at most half full; the number of slots is a power of two. */
struct table {
    struct slot *slots;
    size_t size;
    size_t used;
};

static void fail(int code, const char *message)
{
    fputs("error: ", stderr);
    fputs(message, stderr);
    fputc('\n', stderr);
    exit(code);
}

static struct slot *new_slots(size_t size)
{
    struct slot *slots = size <= MAX_SLOTS ? calloc(size, sizeof *slots) : NULL;
    if (!slots)
        fail(1, "out of memory: too many different k-mers");
    return slots;
}

/* The slot that holds `kmer`, or the empty one where it belongs. */
static struct slot *find(const struct table *table, uint32_t kmer)
{
    /* The low bits choose the slot, so the high ones are folded in: they are the first letters. */
    uint32_t mixed = (kmer ^ kmer >> 15) * UINT32_C(2654435769);
    size_t at = mixed ^ mixed >> 16;
    for (;; at++) {
        struct slot *slot = &table->slots[at & (table->size - 1)];
        if (slot->count == 0 || slot->kmer == kmer)
            return slot;
    }
}

static void grow(struct table *table)
{
    struct table larger = { new_slots(2 * table->size), 2 * table->size, table->used };
    for (size_t i = 0; i < table->size; i++)
        if (table->slots[i].count)
            *find(&larger, table->slots[i].kmer) = table->slots[i];
    free(table->slots);
    *table = larger;
}

static void count(struct table *table, uint32_t kmer)
{
    struct slot *slot = find(table, kmer);
    if (slot->count == 0) {
        if (2 * (table->used + 1) > table->size) {
            grow(table);
            slot = find(table, kmer);
        }
        slot->kmer = kmer;
        table->used++;
    }
    slot->count++;
}

/* The letter's two bits in alphabetical order, or -1. */
static int code(int letter)
{
    switch (letter) {
    case 'A': case 'a': return 0;
    case 'C': case 'c': return 1;
    case 'G': case 'g': return 2;
    case 'T': case 't': return 3;
    default: return -1;
    }
}

/* Reads all records and counts their k-mers. */
static void read_records(FILE *in, int k, struct table *table)
{
    const uint32_t mask = (UINT32_C(1) << 2 * k) - 1;
    uint32_t kmer = 0;
    int letters = 0; /* good letters on end, at most k */
    int header = 0, line_start = 1;
    int c;

    while ((c = getc(in)) != EOF) {
        if (line_start && (c == '>' || c == ';')) {
            header = 1;
            letters = 0;
        }
        line_start = c == '\n';
        if (line_start)
            header = 0;
        if (header || c == '\n' || c == '\r' || c == ' ' || c == '\t')
            continue;
        int bits = code(c);
        if (bits < 0) {
            letters = 0;
            continue;
        }
        kmer = (kmer << 2 | (uint32_t)bits) & mask;
        if (letters < k)
            letters++;
        if (letters == k)
            count(table, kmer);
    }
    if (ferror(in))
        fail(1, "cannot read the input");
}

static int by_kmer(const void *left, const void *right)
{
    uint32_t a = ((const struct slot *)left)->kmer, b = ((const struct slot *)right)->kmer;
    return (a > b) - (a < b);
}

/* Writes "KMER COUNT" and a newline; printf would double the size of the module. */
static void write_line(FILE *out, int k, const struct slot *slot)
{
    char line[MAX_K + 1 + 20 + 1]; /* the k-mer, a blank, 64 bits in decimal, a newline */
    char *start = line + sizeof line;
    uint64_t rest = slot->count;

    *--start = '\n';
    do
        *--start = (char)('0' + rest % 10);
    while (rest /= 10);
    *--start = ' ';
    for (int i = 0; i < k; i++)
        *--start = "ACGT"[slot->kmer >> 2 * i & 3];
    fwrite(start, 1, (size_t)(line + sizeof line - start), out);
}

static void write_counts(FILE *out, int k, struct table *table)
{
    size_t used = 0;
    for (size_t i = 0; i < table->size; i++)
        if (table->slots[i].count)
            table->slots[used++] = table->slots[i];
    qsort(table->slots, used, sizeof *table->slots, by_kmer);
    for (size_t i = 0; i < used; i++)
        write_line(out, k, &table->slots[i]);
    if (fflush(out) || ferror(out))
        fail(1, "cannot write the output");
}

static int parse_k(const char *text)
{
    int k = 0;
    for (const char *digit = text; *digit; digit++) {
        if (*digit < '0' || *digit > '9' || k > MAX_K)
            fail(2, "-k must be a number from 1 to 15");
        k = 10 * k + (*digit - '0');
    }
    if (k < 1 || k > MAX_K)
        fail(2, "-k must be a number from 1 to 15");
    return k;
}

int main(int argc, char **argv)
{
    int k = DEFAULT_K;
    if (argc == 3 && strcmp(argv[1], "-k") == 0)
        k = parse_k(argv[2]);
    else if (argc != 1)
        fail(2, "usage: kmers [-k K] < SEQUENCES");

    struct table table = { new_slots(FIRST_SLOTS), FIRST_SLOTS, 0 };
    read_records(stdin, k, &table);
    write_counts(stdout, k, &table);
    free(table.slots);
    return 0;
}
