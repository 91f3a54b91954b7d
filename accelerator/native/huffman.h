#ifndef HALFTONE_HUFFMAN_H
#define HALFTONE_HUFFMAN_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <jpeglib.h>

/* A symbol of a detail is the number of zeros before it, and of its own bits (ITU-T T.81, F.1.2). */
#define END_OF_BLOCK 0x00
#define SIXTEEN_ZEROS 0xf0

/*
 * How often each symbol of a Huffman table will be written (ITU-T T.81, F.1.2). libjpeg can count too, but reads
 * every coefficient again for it: a third of all its work where most of them are zero.
 */
typedef struct {
  long of[256];
} symbol_counts;

/* Bits of a value's magnitude: 0 for 0, 1 for 1, 2 for 2 and 3. */
static inline int bits_of(int value) {
  unsigned size = value < 0 ? 0u - (unsigned)value : (unsigned)value;
  return size == 0 ? 0 : 32 - __builtin_clz(size);
}

/*
 * Count one detail, `zeros` places after the one before it in its block. Returns 0 where baseline has no symbol
 * for it.
 */
int count_detail(symbol_counts *counts, int zeros, int level);

/* Count a block's mean by its difference from the one before it. Returns 0 where baseline has no symbol for it. */
int count_mean(symbol_counts *counts, int difference);

/* Count blocks whose mean is that of the one before, and that have no details. */
void count_plain_blocks(symbol_counts *means, symbol_counts *details, long blocks);

/* The codes with which all that was counted takes the fewest bits. */
void choose_codes(JHUFF_TBL *table, const symbol_counts *counts);

/*
 * How many bits each symbol takes: its code, 16 bits if it has none, and the bits of its own that follow.
 */
void read_lengths(const JHUFF_TBL *table, float lengths[256]);

#endif
