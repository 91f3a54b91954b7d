#include "trellis.h"

#include <string.h>

#include "huffman.h"

/*
 * The detail kept before a candidate is one of this many candidates before it, or none. Longer
 * gaps, in which all candidates become zero, are rare. The limit bounds the time that a block of
 * noise takes, which has up to 63 candidates.
 */
#define MAX_LOOK_BACK 4
/* More than the cost of any block. */
#define HUGE_COST 1e30f

const uint8_t TURN[DCTSIZE2] = {
     0,  1,  5,  6, 14, 15, 27, 28,
     2,  4,  7, 13, 16, 26, 29, 42,
     3,  8, 12, 17, 25, 30, 41, 43,
     9, 11, 18, 24, 31, 40, 44, 53,
    10, 19, 23, 32, 39, 45, 52, 54,
    20, 22, 33, 38, 46, 51, 55, 60,
    21, 34, 37, 47, 50, 56, 59, 61,
    35, 36, 48, 49, 57, 58, 62, 63,
};

const uint8_t COEFFICIENT[DCTSIZE2] = {
     0,  1,  8, 16,  9,  2,  3, 10,
    17, 24, 32, 25, 18, 11,  4,  5,
    12, 19, 26, 33, 40, 48, 41, 34,
    27, 20, 13,  6,  7, 14, 21, 28,
    35, 42, 49, 56, 57, 50, 43, 36,
    29, 22, 15, 23, 30, 37, 44, 51,
    58, 59, 52, 45, 38, 31, 39, 46,
    53, 60, 61, 54, 47, 55, 62, 63,
};

/* The candidates of a block in zigzag order. size: the magnitude in steps of the new quantiser. */
typedef struct {
  int number;
  int turn[DCTSIZE2];
  float size[DCTSIZE2];
} candidate_list;

static void list_candidates(
    const JCOEF block[DCTSIZE2], uint64_t candidates, const float ratio[DCTSIZE2],
    candidate_list *list) {
  uint64_t turns = 0;
  for (candidates &= ~(uint64_t)1; candidates != 0; candidates &= candidates - 1)
    turns |= (uint64_t)1 << TURN[__builtin_ctzll(candidates)];
  int number = 0;
  for (; turns != 0; turns &= turns - 1, number++) {
    int turn = __builtin_ctzll(turns), k = COEFFICIENT[turn], value = block[k];
    list->turn[number] = turn;
    list->size[number] = (float)(value < 0 ? -value : value) * ratio[k];
  }
  list->number = number;
}

/* The nearest level of a candidate, at least 1. An exact half is rounded towards zero. */
static int nearest(float size) {
  int level = (int)size;
  level += size - (float)level > 0.5f;
  return level < 1 ? 1 : level;
}

/* The cheapest path to node n: its cost minus zeroed[n - 1], the node before n, n's level. */
typedef struct {
  float cost;
  int before, level;
} path;

/* A level that a candidate may get: its error, and the code lengths for its number of bits. */
typedef struct {
  int level;
  float error;
  const float *lengths;
} choice;

/*
 * Replace the best path if the one through node `last` is cheaper. `start` is start[last]; between
 * the two nodes are `zeros` details that are zero.
 */
static inline void consider(
    path *best, const choice *chosen, int last, float start, int zeros, const float *lengths) {
  if (zeros >= 16)
    start += (float)(zeros / 16) * lengths[SIXTEEN_ZEROS];
  float cost = start + chosen->error + chosen->lengths[zeros % 16 << 4];
  if (cost < best->cost)
    *best = (path){cost, last, chosen->level};
}

static void keep(block_levels *chosen, int at, const JCOEF block[DCTSIZE2], int turn, int level) {
  chosen->turns[at] = (uint8_t)turn;
  chosen->levels[at] = (int16_t)(block[COEFFICIENT[turn]] < 0 ? -level : level);
}

void search_levels(
    const JCOEF block[DCTSIZE2], uint64_t candidates, const float ratio[DCTSIZE2],
    const float weight[DCTSIZE2], float bit_price, const float lengths[256], block_levels *chosen) {
  candidate_list list;
  list_candidates(block, candidates, ratio, &list);
  int number = list.number;
  chosen->number = 0;
  if (number == 0)
    return;
  /*
   * Node n means that candidate n - 1 is the last one kept; node 0 means that none is. Costs are in
   * bits. zeroed[n]: the error if candidates 0 to n - 1 all become zero. start[n]: the cost of the
   * cheapest path to node n, minus zeroed[n].
   */
  float start[DCTSIZE2], zeroed[DCTSIZE2], bits_of_error = 1 / bit_price;
  int before[DCTSIZE2], level[DCTSIZE2], turn[DCTSIZE2];
  start[0] = zeroed[0] = 0;
  turn[0] = 0;
  for (int n = 1; n <= number; n++) {
    float size = list.size[n - 1], worth = bits_of_error * weight[COEFFICIENT[list.turn[n - 1]]];
    int top = nearest(size), first = n > MAX_LOOK_BACK ? n - MAX_LOOK_BACK : 0;
    float over = size - (float)top, under = size - (float)(top - 1);
    choice nearest_level = {top, worth * over * over, lengths + bits_of(top)};
    choice lower_level = {top - 1, worth * under * under, lengths + bits_of(top - 1)};
    path best = {HUGE_COST, 0, top};
    turn[n] = list.turn[n - 1];
    for (int last = n - 1; last >= 0; last = last > first || last == 0 ? last - 1 : 0) {
      int zeros = turn[n] - turn[last] - 1;
      consider(&best, &nearest_level, last, start[last], zeros, lengths);
      if (top > 1)
        consider(&best, &lower_level, last, start[last], zeros, lengths);
    }
    before[n] = best.before;
    level[n] = best.level;
    zeroed[n] = zeroed[n - 1] + worth * size * size;
    start[n] = best.cost + zeroed[n - 1] - zeroed[n];
  }
  /* zeroed[number] is part of every total and so left out. */
  float least = lengths[END_OF_BLOCK];
  int last = 0;
  for (int n = 1; n <= number; n++) {
    float all = start[n] + (turn[n] < DCTSIZE2 - 1 ? lengths[END_OF_BLOCK] : 0);
    if (all < least) {
      least = all;
      last = n;
    }
  }
  int kept = 0;
  for (int n = last; n > 0; n = before[n])
    kept++;
  chosen->number = kept;
  for (int n = last; n > 0; n = before[n])
    keep(chosen, --kept, block, turn[n], level[n]);
}
