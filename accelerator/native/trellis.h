#ifndef HALFTONE_TRELLIS_H
#define HALFTONE_TRELLIS_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <jpeglib.h>

/* The details (AC coefficients) of one block that are not zero, in zigzag order. */
typedef struct {
  int number;
  uint8_t turns[DCTSIZE2 - 1]; /* the position of each in zigzag order, 1 to 63 */
  int16_t levels[DCTSIZE2 - 1];
} block_levels;

/*
 * TURN[k]: the position of coefficient k in zigzag order (T.81, figure A.6). COEFFICIENT[turn]: the
 * coefficient at that position.
 */
extern const uint8_t TURN[DCTSIZE2];
extern const uint8_t COEFFICIENT[DCTSIZE2];

/*
 * Choose the levels of a block's details that minimise
 * (weighted squared error in quantiser steps) + bit_price x (bits to write them).
 *
 * candidates: bit k is set if block[k] does not round to zero. Each candidate becomes its nearest
 *   level, the level below, or zero.
 * ratio[k]: the source's quantiser of coefficient k, divided by the new one.
 * weight[k]: the weight of its squared error.
 * lengths: the bits of each symbol (huffman.h).
 *
 * The search is a shortest path over the details that are kept (Ramchandran and Vetterli,
 * "Rate-distortion optimal fast thresholding with complete JPEG/MPEG decoder compatibility", 1994).
 */
void search_levels(
    const JCOEF block[DCTSIZE2], uint64_t candidates, const float ratio[DCTSIZE2],
    const float weight[DCTSIZE2], float bit_price, const float lengths[256], block_levels *chosen);

#endif
