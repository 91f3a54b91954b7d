#ifndef HALFTONE_TRELLIS_H
#define HALFTONE_TRELLIS_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <jpeglib.h>

/* The details of one block that are not zero, in the order in which they are written. */
typedef struct {
  int number;
  uint8_t turns[DCTSIZE2 - 1]; /* each one's place in that order, 1 to 63 */
  int16_t levels[DCTSIZE2 - 1];
} block_levels;

/* When each coefficient of a block is written (T.81, figure A.6), and the coefficient written at each turn. */
extern const uint8_t TURN[DCTSIZE2];
extern const uint8_t COEFFICIENT[DCTSIZE2];

/*
 * Choose the levels that minimise (weighted squared error in quantiser steps) + bit_price x (bits to write them).
 *
 * ratio[k]: the source's quantiser of coefficient k divided by the new one. weight[k]: of its squared error. lengths:
 * the bits of each symbol (huffman.h).
 * candidates: bit k is set if block[k] does not round to zero. Each candidate may become its nearest level, the one below, or zero. The search is a shortest path over the last
 * detail kept (Ramchandran and Vetterli, "Rate-distortion optimal fast thresholding with complete JPEG/MPEG decoder
 * compatibility", 1994).
 */
void search_levels(
    const JCOEF block[DCTSIZE2], uint64_t candidates, const float ratio[DCTSIZE2], const float weight[DCTSIZE2],
    float bit_price, const float lengths[256], block_levels *chosen);

#endif
