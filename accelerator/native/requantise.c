#include "requantise.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>

#include "huffman.h"
#include "trellis.h"

/*
 * Words used here. A block's mean is its DC coefficient, its details are its 63 AC coefficients. A
 * plain block has no detail other than zero. Luma is the first component; blue and red chroma
 * follow.
 */

/* An upper bound of what libjpeg allocates in addition to the coefficients. */
#define OTHER_MEMORY_BYTES (1 << 20)

/*
 * One level more in all pixels of a block adds 8 to its mean. A block of 255s has the mean 127 x 8.
 */
#define PIXEL 8
#define HIGHEST (127 * PIXEL)

/*
 * Ratios are in units of 2^-16. SAME, the largest ratio below 1, leaves every value that a JPEG can
 * hold unchanged after rounding.
 */
#define HALF 0x8000
#define SAME 0xffff

/*
 * Compiles loops over all coefficients a second time, for newer processors, where the dynamic
 * loader can choose between the two.
 */
#if defined(__x86_64__) && defined(__GLIBC__)
#define SEVERAL_TARGETS __attribute__((target_clones("avx2", "default")))
#else
#define SEVERAL_TARGETS
#endif

/*
 * The state of one call. libjpeg gets a pointer to the first member; its error handler jumps out
 * through the second.
 */
typedef struct {
  struct jpeg_error_mgr errors;
  jmp_buf left;
  requantise_outcome outcome;
  struct jpeg_decompress_struct source;
  struct jpeg_compress_struct target;
  struct jpeg_destination_mgr destination;
  const requantise_recipe *recipe;
  const uint16_t (*quantisers)[DCTSIZE2]; /* the recipe's, by component */
  size_t blocks, plain_blocks;
  symbol_counts means[2], details[2];
  float lengths[2][256]; /* bits of each symbol of details, as the search assumes */
  unsigned char *buffer;
} job;

static job *job_of(j_common_ptr codec) { return (job *)codec->err; }

static void leave(job *work, requantise_outcome outcome) {
  work->outcome = outcome;
  longjmp(work->left, 1);
}

static void on_error(j_common_ptr codec) { leave(job_of(codec), NOT_POSSIBLE); }

/*
 * A warning means damage that libjpeg conceals. Refuse the file: the caller then uses its other
 * decoder, which decides whether to accept it.
 */
static void on_message(j_common_ptr codec, int level) {
  if (level < 0)
    leave(job_of(codec), NOT_POSSIBLE);
}

static void say_nothing(j_common_ptr codec) { (void)codec; }

/*
 * A destination of our own, as large as the result may be: libjpeg's memory destination leaks its
 * buffer after a longjmp.
 */
static void begin_output(j_compress_ptr target) { (void)target; }
static void end_output(j_compress_ptr target) { (void)target; }

static boolean buffer_is_full(j_compress_ptr target) {
  leave(job_of((j_common_ptr)target), TOO_LARGE);
  return FALSE;
}

/*
 * Only gray and 4:2:0, which encoders write at the recipe's qualities. Chroma of a higher
 * resolution would be kept, and its bytes cost more than the skipped decoding saves.
 */
static int is_handled(const struct jpeg_decompress_struct *source) {
  const jpeg_component_info *component = source->comp_info;
  if (source->data_precision != 8)
    return 0;
  if (source->jpeg_color_space == JCS_GRAYSCALE)
    return source->num_components == 1;
  return source->jpeg_color_space == JCS_YCbCr && source->num_components == 3 &&
         component[0].h_samp_factor == 2 && component[0].v_samp_factor == 2 &&
         component[1].h_samp_factor == 1 && component[1].v_samp_factor == 1 &&
         component[2].h_samp_factor == 1 && component[2].v_samp_factor == 1;
}

static void read_header(
    job *work, const unsigned char *data, size_t data_bytes, size_t max_pixels) {
  struct jpeg_decompress_struct *source = &work->source;
  jpeg_mem_src(source, data, (unsigned long)data_bytes);
  jpeg_read_header(source, TRUE);
  size_t width = source->image_width, height = source->image_height;
  if (!is_handled(source) || width * height > max_pixels)
    leave(work, NOT_POSSIBLE);
  /* MCUs of 16 x 16 pixels; 1.5 values for each pixel (luma and chroma), of two bytes. */
  source->mem->max_memory_to_use = (long)((width + 15) * (height + 15) * 3 + OTHER_MEMORY_BYTES);
}

static int is_plain(const JBLOCK block) {
  static const JCOEF zeros[DCTSIZE2 - 1];
  return memcmp(block + 1, zeros, sizeof zeros) == 0;
}

/*
 * Choose the recipe's quantisers by the share of plain luma. Plain blocks take nearly no bytes, so
 * the rest of the image has more detail than its bytes per pixel say.
 */
static void choose_recipe(job *work, jvirt_barray_ptr luma) {
  struct jpeg_decompress_struct *source = &work->source;
  const jpeg_component_info *component = &source->comp_info[0];
  size_t plain = 0, blocks = (size_t)component->width_in_blocks * component->height_in_blocks;
  for (JDIMENSION y = 0; y < component->height_in_blocks; y++) {
    JBLOCKROW row = source->mem->access_virt_barray((j_common_ptr)source, luma, y, 1, FALSE)[0];
    for (JDIMENSION x = 0; x < component->width_in_blocks; x++)
      plain += (size_t)is_plain(row[x]);
  }
  size_t eighths = plain * REQUANTISE_EIGHTHS / blocks, most = REQUANTISE_EIGHTHS - 1;
  work->quantisers = work->recipe->quantisers[eighths < most ? eighths : most];
}

/*
 * Set a component's quantisers: the recipe's, or the source's where those are coarser. Returns the
 * slot of their table. Blue and red chroma share a table if their quantisers are the same.
 */
static int choose_quantisers(job *work, int number) {
  struct jpeg_compress_struct *target = &work->target;
  const JQUANT_TBL *old = work->source.comp_info[number].quant_table;
  if (old == NULL) /* the component has no scan */
    leave(work, NOT_POSSIBLE);
  UINT16 chosen[DCTSIZE2];
  for (int k = 0; k < DCTSIZE2; k++) {
    UINT16 asked = work->quantisers[number][k];
    /* A baseline JPEG has quantisers from 1 to 255. */
    if (old->quantval[k] < 1 || old->quantval[k] > 255 || asked < 1 || asked > 255)
      leave(work, NOT_POSSIBLE);
    chosen[k] = old->quantval[k] > asked ? old->quantval[k] : asked;
  }
  int slot = number;
  if (number == 2 && memcmp(chosen, target->quant_tbl_ptrs[1]->quantval, sizeof chosen) == 0)
    slot = 1;
  if (target->quant_tbl_ptrs[slot] == NULL)
    target->quant_tbl_ptrs[slot] = jpeg_alloc_quant_table((j_common_ptr)target);
  memcpy(target->quant_tbl_ptrs[slot]->quantval, chosen, sizeof chosen);
  return slot;
}

/*
 * One component. `width` and `height` count its blocks, `across` and `down` its blocks in an MCU.
 * `old` and `chosen` are the source's and the new quantisers; `ratio` is old / chosen, `fraction`
 * the same in units of 2^-16.
 */
typedef struct {
  jvirt_barray_ptr coefficients;
  JDIMENSION width, height, across, down;
  const UINT16 *old, *chosen;
  uint16_t fraction[DCTSIZE2];
  uint16_t threshold; /* a remainder above this is rounded up, in units of 2^-16 */
  float ratio[DCTSIZE2], weight[DCTSIZE2], bit_price;
  uint64_t *candidates; /* for each block of a row: bit k is set if detail k may stay */
  int last_mean;
  symbol_counts *means, *details;
  const float *lengths;
} plane;

static void *allocate(job *work, size_t bytes) {
  return work->source.mem->alloc_large((j_common_ptr)&work->source, JPOOL_IMAGE, bytes);
}

static plane open_plane(job *work, jvirt_barray_ptr coefficients, int number) {
  const jpeg_component_info *source = &work->source.comp_info[number];
  jpeg_component_info *target = &work->target.comp_info[number];
  const requantise_recipe *recipe = work->recipe;
  /* If there is only one component, each block is an MCU (T.81, A.2.2). */
  int is_alone = work->source.num_components == 1;
  target->quant_tbl_no = choose_quantisers(work, number);
  plane it = {
      .coefficients = coefficients,
      .width = source->width_in_blocks,
      .height = source->height_in_blocks,
      .across = is_alone ? 1 : (JDIMENSION)source->h_samp_factor,
      .down = is_alone ? 1 : (JDIMENSION)source->v_samp_factor,
      .old = source->quant_table->quantval,
      .chosen = work->target.quant_tbl_ptrs[target->quant_tbl_no]->quantval,
      /*
       * With a dead zone of at most 0.45, values multiplied by SAME still round up to themselves.
       */
      .threshold = (uint16_t)(HALF + recipe->dead_zone * 2 * HALF),
      .bit_price = recipe->bit_price[number > 0],
      .candidates = allocate(work, source->width_in_blocks * sizeof(uint64_t)),
      .means = &work->means[target->dc_tbl_no],
      .details = &work->details[target->ac_tbl_no],
      .lengths = work->lengths[target->ac_tbl_no],
  };
  int all_stay = 1;
  for (int k = 0; k < DCTSIZE2; k++) {
    int stays = it.old[k] == it.chosen[k];
    it.fraction[k] = stays ? SAME : (uint16_t)(((uint32_t)it.old[k] << 16) / it.chosen[k]);
    it.ratio[k] = (float)it.old[k] / (float)it.chosen[k];
    /* Errors are measured in the recipe's steps, which may be finer than the chosen ones. */
    float coarser = (float)it.chosen[k] / (float)work->quantisers[number][k];
    it.weight[k] = coarser * coarser;
    all_stay &= stays;
  }
  /* Requantising a result again with the same recipe must not lose anything more. */
  if (all_stay)
    it.bit_price = 0;
  return it;
}

/*
 * Pack bytes that are 0 or 1 into bits. One multiplication gathers the bits of eight bytes in the
 * top byte of the product.
 */
static uint64_t as_bits(const uint8_t flags[DCTSIZE2]) {
  uint64_t bits = 0;
  for (int k = 0; k < DCTSIZE2; k += 8) {
    uint64_t eight = 0;
    for (int i = 0; i < 8; i++)
      eight |= (uint64_t)flags[k + i] << 8 * i;
    bits |= (eight * 0x0102040810204080 >> 56) << k;
  }
  return bits;
}

/* For each block of a row, find the coefficients that do not round to zero: bit k for block[k]. */
SEVERAL_TARGETS
static void find_candidates(
    JBLOCKROW row, size_t blocks, const uint16_t fraction[DCTSIZE2], uint16_t threshold,
    uint64_t *candidates) {
  for (size_t x = 0; x < blocks; x++) {
    JCOEFPTR value = row[x];
    uint8_t flags[DCTSIZE2];
    for (int k = 0; k < DCTSIZE2; k++) {
      int16_t sign = (int16_t)(value[k] >> 15);
      uint16_t size = (uint16_t)((value[k] ^ sign) - sign);
      /*
       * Both halves of the product: compilers have vector instructions for 16-bit multiplications.
       */
      uint16_t high = (uint16_t)((uint32_t)size * fraction[k] >> 16);
      uint16_t low = (uint16_t)((uint32_t)size * fraction[k]);
      flags[k] = (uint16_t)(high + (low > threshold)) != 0;
    }
    candidates[x] = as_bits(flags);
  }
}

/*
 * Divide the details of a row's blocks, round with the dead zone, and find those that are not zero.
 */
SEVERAL_TARGETS
static void divide_details(
    JBLOCKROW row, size_t blocks, const uint16_t fraction[DCTSIZE2], uint16_t threshold,
    uint64_t *candidates) {
  for (size_t x = 0; x < blocks; x++) {
    JCOEFPTR value = row[x];
    JCOEF mean = value[0];
    uint8_t flags[DCTSIZE2];
    for (int k = 0; k < DCTSIZE2; k++) {
      int16_t sign = (int16_t)(value[k] >> 15);
      uint16_t size = (uint16_t)((value[k] ^ sign) - sign);
      uint16_t high = (uint16_t)((uint32_t)size * fraction[k] >> 16);
      uint16_t low = (uint16_t)((uint32_t)size * fraction[k]);
      uint16_t scaled = (uint16_t)(high + (low > threshold));
      value[k] = (JCOEF)((scaled ^ sign) - sign);
      flags[k] = scaled != 0;
    }
    value[0] = mean;
    candidates[x] = as_bits(flags);
  }
}

/*
 * The variance of each block of a row, in squared levels x 64. Coefficients beyond those that 8-bit
 * pixels give are clipped.
 */
SEVERAL_TARGETS
static void measure_activity(
    JBLOCKROW row, size_t blocks, const UINT16 old[DCTSIZE2], uint32_t *activity) {
  for (size_t x = 0; x < blocks; x++) {
    JCOEFPTR value = row[x];
    uint32_t sum = 0;
    for (int k = 0; k < DCTSIZE2; k++) {
      int32_t size = (int32_t)value[k] * (int32_t)old[k];
      size = size > 2047 ? 2047 : size < -2047 ? -2047 : size;
      size = k == 0 ? 0 : size;
      sum += (uint32_t)(size * size);
    }
    activity[x] = sum;
  }
}

/* An activity in quarters of an octave: 0 for 0, 4 for 1, and 4 more each time it doubles. */
static int octave_quarters(uint32_t activity) {
  if (activity == 0)
    return 0;
  int octave = 31 - __builtin_clz(activity);
  uint32_t fraction = octave >= 2 ? activity >> (octave - 2) & 3 : activity << (2 - octave) & 3;
  return 4 * (octave + 1) + (int)fraction;
}

/*
 * Divide a block's mean. A block that is shown as 255 stays 255, because marketplaces check that a
 * background is pure white.
 */
static void divide_mean(JBLOCK block, const plane *by) {
  int mean = block[0] * by->old[0], half = by->chosen[0] / 2;
  if (mean >= HIGHEST - PIXEL / 2)
    mean = HIGHEST + (HIGHEST % by->chosen[0] ? half : 0);
  block[0] = (JCOEF)((mean < 0 ? mean - half : mean + half) / by->chosen[0]);
}

static JBLOCKARRAY rows_of(job *work, const plane *of, JDIMENSION y, JDIMENSION rows) {
  return work->source.mem->access_virt_barray(
      (j_common_ptr)&work->source, of->coefficients, y, rows, TRUE);
}

static void count_block(job *work, symbol_counts *counts, const block_levels *chosen) {
  int before = 0;
  for (int at = 0; at < chosen->number; at++) {
    if (!count_detail(counts, chosen->turns[at] - before - 1, chosen->levels[at]))
      leave(work, NOT_POSSIBLE);
    before = chosen->turns[at];
  }
  counts->of[END_OF_BLOCK] += before < DCTSIZE2 - 1;
  work->blocks++;
  work->plain_blocks += chosen->number == 0;
}

static void write_block(JBLOCK block, const block_levels *chosen) {
  memset(block + 1, 0, sizeof(JBLOCK) - sizeof(JCOEF));
  for (int at = 0; at < chosen->number; at++)
    block[COEFFICIENT[chosen->turns[at]]] = chosen->levels[at];
}

/* List the details of a block that has been divided, given which are not zero. */
static void list_levels(const JBLOCK block, uint64_t nonzero, block_levels *chosen) {
  uint64_t turns = 0;
  for (nonzero &= ~(uint64_t)1; nonzero != 0; nonzero &= nonzero - 1)
    turns |= (uint64_t)1 << TURN[__builtin_ctzll(nonzero)];
  chosen->number = 0;
  for (; turns != 0; turns &= turns - 1) {
    int turn = __builtin_ctzll(turns);
    chosen->turns[chosen->number] = (uint8_t)turn;
    chosen->levels[chosen->number++] = block[COEFFICIENT[turn]];
  }
}

/*
 * Choose and count the details of a row of blocks, and write them if `is_written`. masking[x] is
 * the factor of the bit price for block x.
 */
static void choose_row(
    job *work, plane *of, JBLOCKROW row, const float *masking, int is_written) {
  block_levels chosen;
  if (of->bit_price == 0) {
    if (!is_written)
      return;
    divide_details(row, of->width, of->fraction, of->threshold, of->candidates);
    for (JDIMENSION x = 0; x < of->width; x++) {
      list_levels(row[x], of->candidates[x], &chosen);
      count_block(work, of->details, &chosen);
    }
    return;
  }
  find_candidates(row, of->width, of->fraction, of->threshold, of->candidates);
  for (JDIMENSION x = 0; x < of->width; x++) {
    search_levels(
        row[x], of->candidates[x], of->ratio, of->weight, of->bit_price * masking[x], of->lengths,
        &chosen);
    count_block(work, of->details, &chosen);
    if (is_written)
      write_block(row[x], &chosen);
  }
}

/* Divide and count the means of a row of MCUs, in the order in which a scan writes them. */
static void divide_means(job *work, plane *of, JBLOCKARRAY rows, JDIMENSION number) {
  for (JDIMENSION left = 0; left < of->width; left += of->across) {
    JDIMENSION right = left + of->across < of->width ? left + of->across : of->width;
    for (JDIMENSION y = 0; y < number; y++) {
      for (JDIMENSION x = left; x < right; x++) {
        divide_mean(rows[y][x], of);
        if (!count_mean(of->means, rows[y][x][0] - of->last_mean))
          leave(work, NOT_POSSIBLE);
        of->last_mean = rows[y][x][0];
      }
    }
  }
}

/*
 * Count the blocks with which libjpeg fills up the last MCUs of a row and the last row: plain
 * blocks with the mean of the block before.
 */
static void count_fillers(plane *of) {
  JDIMENSION across = (of->width + of->across - 1) / of->across;
  JDIMENSION down = (of->height + of->down - 1) / of->down;
  long all = (long)across * of->across * down * of->down;
  count_plain_blocks(of->means, of->details, all - (long)of->width * of->height);
}

/* The components, and buffers for one row of MCUs. */
typedef struct {
  int number;
  plane planes[3];
  uint32_t *activity;
  float *masking[2]; /* factors of the bit price, for up to two rows of luma blocks */
  float *chroma_masking;
} image_planes;

static image_planes open_planes(job *work, jvirt_barray_ptr *coefficients) {
  image_planes image = {.number = work->source.num_components};
  for (int number = 0; number < image.number; number++)
    image.planes[number] = open_plane(work, coefficients[number], number);
  size_t blocks = image.planes[0].width + 1;
  image.activity = allocate(work, blocks * sizeof(uint32_t));
  image.masking[0] = allocate(work, blocks * sizeof(float));
  image.masking[1] = allocate(work, blocks * sizeof(float));
  image.chroma_masking = allocate(work, blocks * sizeof(float));
  return image;
}

/*
 * Busy blocks hide errors, so a bit may cost more error there. The factor of a chroma block is the
 * mean of those of the luma blocks that it covers.
 */
static void measure_masking(
    job *work, image_planes *image, JBLOCKARRAY rows, JDIMENSION number) {
  const plane *luma = &image->planes[0];
  for (JDIMENSION y = 0; y < number; y++) {
    measure_activity(rows[y], luma->width, luma->old, image->activity);
    for (JDIMENSION x = 0; x < luma->width; x++)
      image->masking[y][x] = work->recipe->masking[octave_quarters(image->activity[x])];
  }
  if (image->number == 1)
    return;
  const float *upper = image->masking[0], *lower = image->masking[number - 1];
  for (JDIMENSION x = 0; x < image->planes[1].width; x++) {
    JDIMENSION left = 2 * x < luma->width ? 2 * x : luma->width - 1;
    JDIMENSION right = left + 1 < luma->width ? left + 1 : left;
    image->chroma_masking[x] = (upper[left] + upper[right] + lower[left] + lower[right]) / 4;
  }
}

/* Requantise one row of MCUs. y: its first row of luma blocks. `is_written` 0: only count. */
static void choose_details(job *work, image_planes *image, JDIMENSION y, int is_written) {
  plane *luma = &image->planes[0];
  JDIMENSION rows = y + luma->down <= luma->height ? luma->down : luma->height - y;
  JBLOCKARRAY brights = rows_of(work, luma, y, rows);
  if (work->recipe->bit_price[0] > 0 || work->recipe->bit_price[1] > 0)
    measure_masking(work, image, brights, rows);
  for (JDIMENSION row = 0; row < rows; row++)
    choose_row(work, luma, brights[row], image->masking[row], is_written);
  if (is_written)
    divide_means(work, luma, brights, rows);
  for (int number = 1; number < image->number; number++) {
    plane *chroma = &image->planes[number];
    JBLOCKARRAY colours = rows_of(work, chroma, y / luma->down, 1);
    choose_row(work, chroma, colours[0], image->chroma_masking, is_written);
    if (is_written)
      divide_means(work, chroma, colours, 1);
  }
}

/* Count the symbols of every n-th row, to get the code lengths that the search assumes. */
static void sample_codes(job *work, image_planes *image) {
  const plane *luma = &image->planes[0];
  JDIMENSION step = luma->down * (JDIMENSION)work->recipe->sampled_rows;
  for (JDIMENSION y = step / 2 / luma->down * luma->down; y < luma->height; y += step)
    choose_details(work, image, y, 0);
  for (int table = 0; table < (image->number > 1 ? 2 : 1); table++) {
    JHUFF_TBL codes;
    work->details[table].of[END_OF_BLOCK]++; /* small images may have no sampled row */
    choose_codes(&codes, &work->details[table]);
    read_lengths(&codes, work->lengths[table]);
  }
  memset(work->details, 0, sizeof work->details);
  work->blocks = work->plain_blocks = 0;
}

static void requantise_blocks(job *work, jvirt_barray_ptr *coefficients) {
  image_planes image = open_planes(work, coefficients);
  int tables = image.number > 1 ? 2 : 1;
  for (int table = 0; table < tables; table++)
    read_lengths(work->target.ac_huff_tbl_ptrs[table], work->lengths[table]);
  if (work->recipe->sampled_rows > 0)
    sample_codes(work, &image);
  for (JDIMENSION y = 0; y < image.planes[0].height; y += image.planes[0].down)
    choose_details(work, &image, y, 1);
  for (int number = 0; number < image.number; number++)
    count_fillers(&image.planes[number]);
  for (int table = 0; table < tables; table++) {
    choose_codes(work->target.dc_huff_tbl_ptrs[table], &work->means[table]);
    choose_codes(work->target.ac_huff_tbl_ptrs[table], &work->details[table]);
  }
}

/*
 * Progressive scans, each with its own Huffman tables: the means of luma, those of chroma, the two
 * lowest details of luma one by one, its other details, blue chroma, red chroma. A scan writes runs
 * of plain blocks in few bits. In 4:2:0, a scan of luma alone goes row by row, where neighbouring
 * means are closer than in the order of MCUs. Fewer scans, and libjpeg's own ten, take more bytes:
 * see decision 6.
 */
static const jpeg_scan_info COLOUR_SCANS[] = {
    {1, {0}, 0, 0, 0, 0},  {2, {1, 2}, 0, 0, 0, 0}, {1, {0}, 1, 1, 0, 0},  {1, {0}, 2, 2, 0, 0},
    {1, {0}, 3, 63, 0, 0}, {1, {1}, 1, 63, 0, 0},   {1, {2}, 1, 63, 0, 0},
};
static const jpeg_scan_info GRAY_SCANS[] = {
    {1, {0}, 0, 0, 0, 0},
    {1, {0}, 1, 1, 0, 0},
    {1, {0}, 2, 2, 0, 0},
    {1, {0}, 3, 63, 0, 0},
};

/* Whether the recipe allows progressive scans, and there are enough plain blocks to save bytes. */
static int pays_progressive(const job *work) {
  const requantise_recipe *recipe = work->recipe;
  size_t pixels = (size_t)work->source.image_width * work->source.image_height;
  if (recipe->progressive_from == 0 || pixels < recipe->progressive_from)
    return 0;
  return (float)work->plain_blocks >= recipe->plain_share * (float)work->blocks;
}

static void set_scans(struct jpeg_compress_struct *target) {
  int has_colour = target->num_components > 1;
  target->scan_info = has_colour ? COLOUR_SCANS : GRAY_SCANS;
  target->num_scans = (int)(has_colour ? sizeof COLOUR_SCANS : sizeof GRAY_SCANS) /
                      (int)sizeof(jpeg_scan_info);
}

static void set_target(job *work, size_t buffer_bytes) {
  struct jpeg_compress_struct *target = &work->target;
  jpeg_copy_critical_parameters(&work->source, target);
  target->density_unit = 0;
  target->X_density = target->Y_density = 1;
  target->JFIF_major_version = target->JFIF_minor_version = 1;
  target->dest = &work->destination;
  work->destination.init_destination = begin_output;
  work->destination.empty_output_buffer = buffer_is_full;
  work->destination.term_destination = end_output;
  work->destination.next_output_byte = work->buffer;
  work->destination.free_in_buffer = buffer_bytes;
}

/*
 * Any call of libjpeg may end this function by a longjmp. The job belongs to the caller and stays
 * valid.
 */
static void attempt(
    job *work, const unsigned char *data, size_t data_bytes, size_t max_pixels, size_t buffer_bytes,
    const unsigned char *icc, size_t icc_bytes, const unsigned char *exif, size_t exif_bytes) {
  if (setjmp(work->left) != 0)
    return;
  jpeg_create_decompress(&work->source);
  jpeg_create_compress(&work->target);
  read_header(work, data, data_bytes, max_pixels);
  jvirt_barray_ptr *coefficients = jpeg_read_coefficients(&work->source);
  set_target(work, buffer_bytes);
  choose_recipe(work, coefficients[0]);
  requantise_blocks(work, coefficients);
  if (pays_progressive(work))
    set_scans(&work->target);
  jpeg_write_coefficients(&work->target, coefficients);
  if (icc_bytes > 0)
    jpeg_write_icc_profile(&work->target, icc, (unsigned int)icc_bytes);
  if (exif_bytes > 0)
    jpeg_write_marker(&work->target, JPEG_APP0 + 1, exif, (unsigned int)exif_bytes);
  jpeg_finish_compress(&work->target);
  work->outcome = REQUANTISED;
}

requantise_outcome requantise_jpeg(
    const unsigned char *data, size_t data_bytes, const requantise_recipe *recipe,
    size_t max_pixels, size_t max_bytes, const unsigned char *icc, size_t icc_bytes,
    const unsigned char *exif, size_t exif_bytes, unsigned char **result, size_t *result_bytes) {
  job work;
  memset(&work, 0, sizeof work);
  work.source.err = work.target.err = jpeg_std_error(&work.errors);
  work.errors.error_exit = on_error;
  work.errors.emit_message = on_message;
  work.errors.output_message = say_nothing;
  work.outcome = NOT_POSSIBLE;
  work.recipe = recipe;
  /* One byte more than the result may have: libjpeg flushes a buffer as soon as it is full. */
  size_t buffer_bytes = max_bytes + 1;
  if (buffer_bytes == 0 || (work.buffer = malloc(buffer_bytes)) == NULL)
    return NOT_POSSIBLE;
  attempt(&work, data, data_bytes, max_pixels, buffer_bytes, icc, icc_bytes, exif, exif_bytes);
  if (work.outcome == REQUANTISED) {
    *result = work.buffer;
    *result_bytes = buffer_bytes - work.destination.free_in_buffer;
  } else {
    free(work.buffer);
  }
  /* Safe for codecs that were never created, because they are zero. */
  jpeg_destroy_compress(&work.target);
  jpeg_destroy_decompress(&work.source);
  return work.outcome;
}
