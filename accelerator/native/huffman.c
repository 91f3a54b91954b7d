#include "huffman.h"

#include <stdlib.h>
#include <string.h>

#define SYMBOLS 256
#define LONGEST_CODE 16
/* Of 8-bit samples (T.81, F.1.2.1 and F.1.2.2). */
#define MAX_DETAIL_BITS 10
#define MAX_MEAN_BITS 11

/* A symbol of a detail is the number of zeros before it, and of its own bits. */
#define END_OF_BLOCK 0x00
#define SIXTEEN_ZEROS 0xf0

/* When each coefficient of a block is written (T.81, figure A.6). */
static const uint8_t TURN[DCTSIZE2] = {
     0,  1,  5,  6, 14, 15, 27, 28,
     2,  4,  7, 13, 16, 26, 29, 42,
     3,  8, 12, 17, 25, 30, 41, 43,
     9, 11, 18, 24, 31, 40, 44, 53,
    10, 19, 23, 32, 39, 45, 52, 54,
    20, 22, 33, 38, 46, 51, 55, 60,
    21, 34, 37, 47, 50, 56, 59, 61,
    35, 36, 48, 49, 57, 58, 62, 63,
};

static int bits_of(int value) { return value == 0 ? 0 : 32 - __builtin_clz((unsigned)abs(value)); }

int count_details(symbol_counts *counts, const JCOEF block[DCTSIZE2], uint64_t nonzero) {
  uint8_t bits[DCTSIZE2];
  uint64_t turns = 0;
  for (nonzero &= ~(uint64_t)1; nonzero != 0; nonzero &= nonzero - 1) {
    int k = __builtin_ctzll(nonzero);
    turns |= (uint64_t)1 << TURN[k];
    bits[TURN[k]] = (uint8_t)bits_of(block[k]);
    if (bits[TURN[k]] > MAX_DETAIL_BITS)
      return 0;
  }
  int before = 0;
  for (; turns != 0; turns &= turns - 1) {
    int turn = __builtin_ctzll(turns), zeros = turn - before - 1;
    counts->of[SIXTEEN_ZEROS] += zeros / 16;
    counts->of[zeros % 16 << 4 | bits[turn]]++;
    before = turn;
  }
  counts->of[END_OF_BLOCK] += before < DCTSIZE2 - 1;
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

/* Symbols that occur, in a tree that grows from the leaves: `count` is zero where another one took a symbol's tree over. */
typedef struct {
  int symbol, depth, next; /* next: of the same tree, -1 where it ends */
  long count;
} leaf;

/* The rarest tree but `other`, the last of them where several are; -1 where there is none. */
static int rarest(const leaf *leaves, int number, int other) {
  int found = -1;
  for (int k = 0; k < number; k++)
    if (k != other && leaves[k].count > 0 && (found < 0 || leaves[k].count <= leaves[found].count))
      found = k;
  return found;
}

/* How deep each leaf is in Huffman's tree (T.81, figure K.1). */
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
 * Codes of 16 bits at most: pairs of longer ones move up, beneath a shorter one (T.81, figure K.3). There is one: a tree whose
 * 257 leaves were all deeper than 14 would not be full.
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
  /* The code of all ones is none (T.81, C.2): as the last of the rarest, this one gets it. */
  leaves[number++] = (leaf){SYMBOLS, 0, -1, 1};
  measure(leaves, number);

  int codes[SYMBOLS + 1] = {0}; /* by their bits */
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
