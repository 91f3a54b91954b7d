#ifndef HALFTONE_SCORE_H
#define HALFTONE_SCORE_H

#include <stdint.h>

/*
 * The SSIMULACRA2 score of a distorted image: 100 for the same, about 90 where no difference is visible, 70 for high
 * quality; it can be negative. Both images are RGB, 8 bits a channel, without padding. Returns -1000 where memory
 * runs out.
 */
double ssimulacra2(const uint8_t *original, const uint8_t *distorted, int width, int height);

#endif
