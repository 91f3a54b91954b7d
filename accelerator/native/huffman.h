#ifndef HALFTONE_HUFFMAN_H
#define HALFTONE_HUFFMAN_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <jpeglib.h>

/*
 * A detail is an AC coefficient that is not zero. Its symbol has two halves: the number of zeros
 * before it, and the number of bits of its magnitude (ITU-T T.81, F.1.2).
 */
#define END_OF_BLOCK 0x00
#define SIXTEEN_ZEROS 0xf0

/*
 * How often each symbol of a Huffman table will be written. libjpeg can count too, but it reads
 * every coefficient once more to do so: a third of all its work if most coefficients are zero.
 */
typedef struct {
  long of[256];
} symbol_counts;

/* The number of bits of a value's magnitude: 0 for 0, 1 for 1, 2 for 2 and 3. */
static inline int bits_of(int value) {
  unsigned size = value < 0 ? 0u - (unsigned)value : (unsigned)value;
  return size == 0 ? 0 : 32 - __builtin_clz(size);
}

/*
 * Count one detail, which follows `zeros` zeros in its block. Returns 0 if a baseline JPEG has no
 * symbol for it.
 */
int count_detail(symbol_counts *counts, int zeros, int level);

/*
 * Count a block's mean (its DC coefficient) by its difference from the mean before it. Returns 0 if
 * a baseline JPEG has no symbol for it.
 */
int count_mean(symbol_counts *counts, int difference);

/* Count blocks without details whose mean is that of the block before. */
void count_plain_blocks(symbol_counts *means, symbol_counts *details, long blocks);

/* Set the codes with which all counted symbols take the fewest bits. */
void choose_codes(JHUFF_TBL *table, const symbol_counts *counts);

/*
 * How many bits each symbol takes: its code (16 bits if it has none) and the bits of the magnitude
 * that follow it.
 */
void read_lengths(const JHUFF_TBL *table, float lengths[256]);

#endif
