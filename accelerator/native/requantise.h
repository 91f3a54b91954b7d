#ifndef HALFTONE_REQUANTISE_H
#define HALFTONE_REQUANTISE_H

#include <stddef.h>

typedef enum { REQUANTISED, TOO_LARGE, NOT_POSSIBLE } requantise_outcome;

/*
 * Write a JPEG again at a quality (1-95), from its DCT coefficients, with Huffman tables made for it, baseline.
 *
 * REQUANTISED: *result is malloc'ed, *result_bytes long, and the caller's to free. TOO_LARGE: it would have had more than
 * max_bytes. NOT_POSSIBLE: data is damaged in any way, larger than max_pixels, or of a kind that is not handled here (all
 * but 8-bit gray and YCbCr 4:2:0). icc and exif (the APP1 segment's contents) are written into the result unless empty;
 * nothing of the source's markers is.
 */
requantise_outcome requantise_jpeg(
    const unsigned char *data, size_t data_bytes, int quality, size_t max_pixels, size_t max_bytes,
    const unsigned char *icc, size_t icc_bytes, const unsigned char *exif, size_t exif_bytes,
    unsigned char **result, size_t *result_bytes);

#endif
