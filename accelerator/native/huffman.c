#include "huffman.h"

#include <stdlib.h>
#include <string.h>

#define SYMBOLS 256
#define LONGEST_CODE 16
/* The bits of the largest magnitudes with 8-bit samples (T.81, F.1.2.1 and F.1.2.2). */
#define MAX_DETAIL_BITS 10
#define MAX_MEAN_BITS 11

int count_detail(symbol_counts *counts, int zeros, int level) {
  int bits = bits_of(level);
  if (bits > MAX_DETAIL_BITS)
    return 0;
  counts->of[SIXTEEN_ZEROS] += zeros / 16;
  counts->of[zeros % 16 << 4 | bits]++;
  return 1;
}

int count_mean(symbol_counts *counts, int difference) {
  int bits = bits_of(difference);
  if (bits > MAX_MEAN_BITS)
    return 0;
  counts->of[bits]++;
  return 1;
}

void count_plain_blocks(symbol_counts *means, symbol_counts *details, long blocks) {
  means->of[0] += blocks;
  details->of[END_OF_BLOCK] += blocks;
}

/*
 * A leaf of a tree that is built from its leaves. One leaf of each tree has the count of the whole
 * tree; the count of the others is zero.
 */
typedef struct {
  int symbol, depth, next; /* next: the next leaf of the same tree, -1 for the last */
  long count;
} leaf;

/*
 * The tree with the lowest count, other than `other`; the last one if several have it. -1 if there
 * is none.
 */
static int rarest(const leaf *leaves, int number, int other) {
  int found = -1;
  for (int k = 0; k < number; k++)
    if (k != other && leaves[k].count > 0 && (found < 0 || leaves[k].count <= leaves[found].count))
      found = k;
  return found;
}

/* Compute the depth of each leaf in the Huffman tree (T.81, figure K.1). */
static void measure(leaf *leaves, int number) {
  for (;;) {
    int one = rarest(leaves, number, -1), two = rarest(leaves, number, one);
    if (two < 0)
      return;
    leaves[one].count += leaves[two].count;
    leaves[two].count = 0;
    int k = one;
    for (leaves[k].depth++; leaves[k].next >= 0; leaves[k].depth++)
      k = leaves[k].next;
    leaves[k].next = two;
    for (k = two; k >= 0; k = leaves[k].next)
      leaves[k].depth++;
  }
}

/*
 * Limit codes to 16 bits: of a pair of longer codes, one takes the place of their parent, and the
 * other shares the place of a shorter code (T.81, figure K.3). A shorter code always exists: a tree
 * whose 257 leaves were all deeper than 14 would not be full.
 */
static void shorten(int codes[SYMBOLS + 1]) {
  for (int bits = SYMBOLS; bits > LONGEST_CODE; bits--) {
    while (codes[bits] > 0) {
      int above = bits - 2;
      while (codes[above] == 0)
        above--;
      codes[bits] -= 2;
      codes[bits - 1]++;
      codes[above + 1] += 2;
      codes[above]--;
    }
  }
}

void choose_codes(JHUFF_TBL *table, const symbol_counts *counts) {
  leaf leaves[SYMBOLS + 1];
  int number = 0;
  for (int symbol = 0; symbol < SYMBOLS; symbol++)
    if (counts->of[symbol] > 0)
      leaves[number++] = (leaf){symbol, 0, -1, counts->of[symbol]};
  /*
   * The code of all ones is not allowed (T.81, C.2). This leaf, the last of those with the lowest
   * count, takes it.
   */
  leaves[number++] = (leaf){SYMBOLS, 0, -1, 1};
  measure(leaves, number);

  int codes[SYMBOLS + 1] = {0}; /* how many codes have that many bits */
  for (int k = 0; k < number; k++)
    codes[leaves[k].depth]++;
  shorten(codes);
  int longest = LONGEST_CODE;
  while (codes[longest] == 0)
    longest--;
  codes[longest]--;

  memset(table, 0, sizeof *table);
  for (int bits = 1; bits <= LONGEST_CODE; bits++)
    table->bits[bits] = (UINT8)codes[bits];
  UINT8 *symbol = table->huffval;
  for (int depth = 1; symbol < table->huffval + number - 1; depth++)
    for (int k = 0; k < number - 1; k++)
      if (leaves[k].depth == depth)
        *symbol++ = (UINT8)leaves[k].symbol;
}

void read_lengths(const JHUFF_TBL *table, float lengths[SYMBOLS]) {
  for (int symbol = 0; symbol < SYMBOLS; symbol++)
    lengths[symbol] = (float)(LONGEST_CODE + symbol % 16);
  const UINT8 *symbol = table->huffval;
  for (int bits = 1; bits <= LONGEST_CODE; bits++)
    for (int code = 0; code < table->bits[bits]; code++) {
      lengths[*symbol] = (float)(bits + *symbol % 16);
      symbol++;
    }
}
