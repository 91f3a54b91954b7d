#ifndef HALFTONE_HUFFMAN_H
#define HALFTONE_HUFFMAN_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <jpeglib.h>

/*
 * How often each symbol of a Huffman table will be written (ITU-T T.81, F.1.2): what libjpeg counts by a search through
 * all coefficients, which is a third of all its work where most of them are zero.
 */
typedef struct {
  long of[256];
} symbol_counts;

/*
 * A block's details, all but its mean; bit k of `nonzero` tells whether block[k] is. Returns 0 where baseline has no
 * symbol for one of them.
 */
int count_details(symbol_counts *counts, const JCOEF block[DCTSIZE2], uint64_t nonzero);

/* A block's mean, by its difference from the one before it. Returns 0 where baseline has no symbol for it. */
int count_mean(symbol_counts *counts, int difference);

/* Blocks whose mean is that of the one before, and that have no details. */
void count_plain_blocks(symbol_counts *means, symbol_counts *details, long blocks);

/* The codes with which all that was counted takes the fewest bits. */
void choose_codes(JHUFF_TBL *table, const symbol_counts *counts);

#endif
