#ifndef HALFTONE_REQUANTISE_H
#define HALFTONE_REQUANTISE_H

#include <stddef.h>
#include <stdint.h>

#define REQUANTISE_ACTIVITIES 128
#define REQUANTISE_EIGHTHS 8

typedef enum { REQUANTISED, TOO_LARGE, NOT_POSSIBLE } requantise_outcome;

/*
 * How to requantise. Details are the AC coefficients.
 *
 * quantisers: for luma, blue and red chroma; in natural order, 1 to 255. The first index is the
 *   number of eighths of the luma blocks that are plain, rounded down; 7 if all are.
 * dead_zone: a detail is rounded up if its fraction exceeds 1/2 by more than this; 0 to 0.45 steps.
 * bit_price: for luma and chroma, the squared error in quantiser steps that saving one bit is
 *   worth; 0 rounds without a search.
 * masking: factors of the bit price. The index is a block's activity: its variance in squared 8-bit
 *   levels, in quarters of an octave; 0 for a variance below 1/64.
 * sampled_rows: the search assumes the Huffman codes that fit every n-th row of MCUs; 0 assumes the
 *   standard's example codes.
 * progressive_from: images of at least this many pixels are written in progressive scans if at
 *   least plain_share of their blocks have no details; 0 for never.
 */
typedef struct {
  uint16_t quantisers[REQUANTISE_EIGHTHS][3][64];
  float dead_zone;
  float bit_price[2];
  float masking[REQUANTISE_ACTIVITIES];
  int sampled_rows;
  size_t progressive_from;
  float plain_share;
} requantise_recipe;

/*
 * Write a JPEG with other quantisers, from its DCT coefficients and with Huffman tables of its own.
 *
 * A source quantiser that is coarser than the recipe's is kept, because lost precision cannot be
 * restored. icc and exif (the contents of the APP1 segment) are written into the result unless they
 * are empty; no marker of the source is copied.
 *
 * REQUANTISED: *result has *result_bytes bytes; the caller frees it.
 * TOO_LARGE: the result would have had more than max_bytes.
 * NOT_POSSIBLE: the data is damaged, has more than max_pixels, or is neither 8-bit gray nor 8-bit
 *   YCbCr 4:2:0; or there is no memory.
 */
requantise_outcome requantise_jpeg(
    const unsigned char *data, size_t data_bytes, const requantise_recipe *recipe,
    size_t max_pixels, size_t max_bytes, const unsigned char *icc, size_t icc_bytes,
    const unsigned char *exif, size_t exif_bytes, unsigned char **result, size_t *result_bytes);

#endif
