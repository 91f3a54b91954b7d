/*
 * Mutates JPEGs and passes them to requantise_jpeg and ssimulacra2: harness ROUNDS SEED FILE...
 * run.py builds it with sanitizers. A crash or a report of a sanitizer ends it. Every result is
 * freed, so that leaks are found.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "requantise.h"
#include "score.h"

#define MOST_SEEDS 64
#define ROOM 4096

static uint64_t state;

static uint32_t random_below(uint32_t limit) {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return (uint32_t)(state >> 32) % limit;
}

static unsigned char *read_file(const char *path, size_t *bytes) {
  FILE *file = fopen(path, "rb");
  if (file == NULL)
    exit(2);
  fseek(file, 0, SEEK_END);
  *bytes = (size_t)ftell(file);
  rewind(file);
  unsigned char *data = malloc(*bytes);
  if (fread(data, 1, *bytes, file) != *bytes)
    exit(2);
  fclose(file);
  return data;
}

/*
 * Overwrites, inserts, removes or repeats a few bytes, or cuts off the end. Half of the changes are
 * near the headers.
 */
static size_t mutate(unsigned char *data, size_t bytes, size_t room) {
  for (uint32_t changes = random_below(6); changes > 0 && bytes > 8; changes--) {
    uint32_t reach = random_below(2) && bytes > 700 ? 700 : (uint32_t)bytes;
    size_t at = random_below(reach), length = 1 + random_below(8);
    if (at + length > bytes)
      length = bytes - at;
    switch (random_below(5)) {
    case 0:
      data[at] ^= (unsigned char)(1u << random_below(8));
      break;
    case 1:
      for (size_t k = 0; k < length; k++)
        data[at + k] = (unsigned char)random_below(256);
      break;
    case 2:
      memmove(data + at, data + at + length, bytes - at - length);
      bytes -= length;
      break;
    case 3:
      if (bytes + length <= room) {
        memmove(data + at + length, data + at, bytes - at);
        bytes += length;
      }
      break;
    default:
      if (random_below(4) == 0)
        bytes = at;
    }
  }
  return bytes;
}

static void choose(requantise_recipe *recipe) {
  memset(recipe, 0, sizeof *recipe);
  uint32_t step = 1 + random_below(random_below(2) ? 255 : 24);
  for (int eighths = 0; eighths < REQUANTISE_EIGHTHS; eighths++)
    for (int table = 0; table < 3; table++)
      for (int k = 0; k < 64; k++)
        recipe->quantisers[eighths][table][k] = (uint16_t)(1 + random_below(step));
  recipe->dead_zone = (float)random_below(46) / 100;
  if (random_below(4)) {
    recipe->bit_price[0] = (float)random_below(100) / 100;
    recipe->bit_price[1] = (float)random_below(100) / 100;
  }
  for (int k = 0; k < REQUANTISE_ACTIVITIES; k++)
    recipe->masking[k] = (float)(1 + random_below(300)) / 100;
  recipe->sampled_rows = (int)random_below(3);
  recipe->progressive_from = random_below(2);
  recipe->plain_share = (float)random_below(11) / 10;
}

int main(int count, char **arguments) {
  if (count < 4 || count - 3 > MOST_SEEDS)
    return 2;
  long rounds = atol(arguments[1]), outcomes[3] = {0};
  state = strtoull(arguments[2], NULL, 10) * 2654435769u + 1;
  unsigned char *seeds[MOST_SEEDS];
  size_t sizes[MOST_SEEDS];
  for (int seed = 0; seed < count - 3; seed++)
    seeds[seed] = read_file(arguments[seed + 3], &sizes[seed]);
  static const unsigned char EXIF[] = "Exif\0\0notice";
  for (long round = 0; round < rounds; round++) {
    uint32_t seed = random_below((uint32_t)(count - 3));
    unsigned char *data = malloc(sizes[seed] + ROOM), *result = NULL;
    memcpy(data, seeds[seed], sizes[seed]);
    size_t bytes = mutate(data, sizes[seed], sizes[seed] + ROOM), result_bytes = 0;
    /* Exactly as large as the data, so that the sanitizer reports a read beyond its end. */
    data = realloc(data, bytes > 0 ? bytes : 1);
    requantise_recipe recipe;
    choose(&recipe);
    size_t most = random_below(4) ? 1000000 : random_below(2000);
    requantise_outcome outcome = requantise_jpeg(
        data, bytes, &recipe, 4000000, most, EXIF, random_below(2) ? sizeof EXIF : 0, EXIF,
        random_below(2) ? sizeof EXIF : 0, &result, &result_bytes);
    outcomes[outcome]++;
    if (outcome == REQUANTISED)
      free(result);
    if (bytes > 3 * 64) { /* the end of the data, taken as pixels */
      int width = 1 + (int)random_below(8 + 8 * random_below(2)), height = (int)(64 / width);
      if (height > 0)
        ssimulacra2(data, data + bytes - (size_t)(3 * width * height), width, height);
    }
    free(data);
  }
  for (int seed = 0; seed < count - 3; seed++)
    free(seeds[seed]);
  printf("%ld inputs: %ld requantised, %ld too large, %ld refused\n", rounds, outcomes[REQUANTISED],
         outcomes[TOO_LARGE], outcomes[NOT_POSSIBLE]);
  return 0;
}
