#ifndef HALFTONE_SCORE_H
#define HALFTONE_SCORE_H

#include <stdint.h>

/*
 * The SSIMULACRA2 score of a distorted image: 100 if it equals the original, about 90 if no
 * difference is visible, 70 for high quality; it can be negative. Both images are RGB with 8 bits a
 * channel and without padding. Returns -1000 if there is no memory.
 */
double ssimulacra2(const uint8_t *original, const uint8_t *distorted, int width, int height);

#endif
