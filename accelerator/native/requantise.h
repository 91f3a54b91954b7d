#ifndef HALFTONE_REQUANTISE_H
#define HALFTONE_REQUANTISE_H

#include <stddef.h>
#include <stdint.h>

#define REQUANTISE_ACTIVITIES 128

typedef enum { REQUANTISED, TOO_LARGE, NOT_POSSIBLE } requantise_outcome;

/*
 * How to requantise. quantisers: of luma, blue and red chroma, natural order, 1 to 255. dead_zone: how far beyond one
 * half a detail must be to be rounded up, 0 to 0.45 steps. bit_price: the squared error, in quantiser steps, that one
 * bit may save, for luma and chroma; 0 rounds without a search. masking: factors of the bit price by a block's
 * activity, in quarters of an octave of its variance in squared 8-bit levels (index 0: a variance below 1/64).
 * sampled_rows: the Huffman codes that the search assumes are counted on every n-th row of blocks; 0 assumes the
 * standard's example codes. progressive_from: images of at least so many
 * pixels are written in progressive scans, if plain_share of their blocks have no details; 0: none.
 */
typedef struct {
  uint16_t quantisers[3][64];
  float dead_zone;
  float bit_price[2];
  float masking[REQUANTISE_ACTIVITIES];
  int sampled_rows;
  size_t progressive_from;
  float plain_share;
} requantise_recipe;

/*
 * Write a JPEG again with other quantisers, from its DCT coefficients, with Huffman tables made for it.
 *
 * A quantiser of the source that is coarser than the recipe's stays: the lost precision does not come back.
 * REQUANTISED: *result is malloc'ed, *result_bytes long, and the caller's to free. TOO_LARGE: it would have had more
 * than max_bytes. NOT_POSSIBLE: data is damaged in any way, larger than max_pixels, or of a kind that is not handled
 * here (all but 8-bit gray and YCbCr 4:2:0). icc and exif (the APP1 segment's contents) are written into the result
 * unless empty; nothing of the source's markers is.
 */
requantise_outcome requantise_jpeg(
    const unsigned char *data, size_t data_bytes, const requantise_recipe *recipe, size_t max_pixels, size_t max_bytes,
    const unsigned char *icc, size_t icc_bytes, const unsigned char *exif, size_t exif_bytes,
    unsigned char **result, size_t *result_bytes);

#endif
