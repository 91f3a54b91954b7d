#include "requantise.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>

#include "huffman.h"

/* What libjpeg allocates beside the coefficients, with much room. */
#define OTHER_MEMORY_BYTES (1 << 20)

/* What a mean is higher by where all of its block is higher by one; and that of a block of 255s, 127 above the middle. */
#define PIXEL 8
#define HIGHEST (127 * PIXEL)

/* Ratios have 16 bits behind the point and none before it. The last of them rounds all that a JPEG holds to itself. */
#define HALF 0x8000
#define SAME 0xffff

/* Where the loader can choose, the one loop of ours is compiled for newer processors too. */
#if defined(__x86_64__) && defined(__GLIBC__)
#define SEVERAL_TARGETS __attribute__((target_clones("avx2", "default")))
#else
#define SEVERAL_TARGETS
#endif

/* All that a call holds. libjpeg sees the first member and leaves by the second. */
typedef struct {
  struct jpeg_error_mgr errors;
  jmp_buf left;
  requantise_outcome outcome;
  struct jpeg_decompress_struct source;
  struct jpeg_compress_struct target;
  struct jpeg_destination_mgr destination;
  UINT16 asked[2][DCTSIZE2]; /* the quality's quantisers, of luma and of chroma */
  symbol_counts means[2], details[2];
  unsigned char *buffer;
} job;

static job *job_of(j_common_ptr codec) { return (job *)codec->err; }

static void leave(job *work, requantise_outcome outcome) {
  work->outcome = outcome;
  longjmp(work->left, 1);
}

static void on_error(j_common_ptr codec) { leave(job_of(codec), NOT_POSSIBLE); }

/* A warning means damage that libjpeg papers over. Whether to have that is for somebody else to decide. */
static void on_message(j_common_ptr codec, int level) {
  if (level < 0)
    leave(job_of(codec), NOT_POSSIBLE);
}

static void say_nothing(j_common_ptr codec) { (void)codec; }

/* The buffer is as long as the result may be, so libjpeg's own destination, which leaks where it is left, is not used. */
static void begin_output(j_compress_ptr target) { (void)target; }
static void end_output(j_compress_ptr target) { (void)target; }

static boolean buffer_is_full(j_compress_ptr target) {
  leave(job_of((j_common_ptr)target), TOO_LARGE);
  return FALSE;
}

/* 4:2:0 is what encoders write at such qualities, and gray; finer chroma would be kept, and cost more than decoding saves. */
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

static void read_header(job *work, const unsigned char *data, size_t data_bytes, size_t max_pixels) {
  struct jpeg_decompress_struct *source = &work->source;
  jpeg_mem_src(source, data, (unsigned long)data_bytes);
  jpeg_read_header(source, TRUE);
  size_t width = source->image_width, height = source->image_height;
  if (!is_handled(source) || width * height > max_pixels)
    leave(work, NOT_POSSIBLE);
  /* Blocks of 16 x 16 pixels, half as many values again for chroma, two bytes each. */
  source->mem->max_memory_to_use = (long)((width + 15) * (height + 15) * 3 + OTHER_MEMORY_BYTES);
}

/*
 * The quantisers to write: those of the quality, but nowhere finer than the source's, which would cost bytes and give
 * nothing back. Returns the table's slot. Cb and Cr share one unless their sources differ.
 */
static int choose_quantisers(job *work, int number) {
  struct jpeg_compress_struct *target = &work->target;
  const JQUANT_TBL *old = work->source.comp_info[number].quant_table;
  const UINT16 *asked = work->asked[number > 0];
  if (old == NULL) /* the component has no scan */
    leave(work, NOT_POSSIBLE);
  UINT16 chosen[DCTSIZE2];
  for (int k = 0; k < DCTSIZE2; k++) {
    if (old->quantval[k] < 1 || old->quantval[k] > 255) /* baseline holds no more */
      leave(work, NOT_POSSIBLE);
    chosen[k] = old->quantval[k] > asked[k] ? old->quantval[k] : asked[k];
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
 * A component: its blocks, how many of them an MCU has across and down, and how they are divided: by the quantisers of
 * the source and those to write, with their ratios in fixed point of 16 bits.
 */
typedef struct {
  jvirt_barray_ptr coefficients;
  JDIMENSION width, height, across, down;
  const UINT16 *old, *chosen;
  uint16_t ratio[DCTSIZE2];
  uint64_t *nonzero; /* of one row, by its blocks */
  int mean;          /* the one counted last */
  symbol_counts *means, *details;
} plane;

static void *allocate(job *work, size_t bytes) {
  return work->source.mem->alloc_large((j_common_ptr)&work->source, JPOOL_IMAGE, bytes);
}

static plane open_plane(job *work, jvirt_barray_ptr coefficients, int number) {
  const jpeg_component_info *source = &work->source.comp_info[number];
  jpeg_component_info *target = &work->target.comp_info[number];
  /* Of a component that is alone, each block is an MCU (T.81, A.2.2). */
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
      .nonzero = allocate(work, source->width_in_blocks * sizeof(uint64_t)),
      .means = &work->means[target->dc_tbl_no],
      .details = &work->details[target->ac_tbl_no],
  };
  for (int k = 0; k < DCTSIZE2; k++)
    it.ratio[k] = it.old[k] == it.chosen[k] ? SAME : (uint16_t)(((uint32_t)it.old[k] << 16) / it.chosen[k]);
  it.ratio[0] = SAME; /* the mean is divided apart */
  return it;
}

/* Bytes of 0 or 1 as bits. Eight at a time: their product has the bits of all eight side by side, at its top. */
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

/*
 * Each coefficient but the mean x its ratio, rounded; a ratio is at most 1. An exact half goes towards zero: halves are
 * common here, either way is as far off, and this one is 7 % fewer bytes. Tells of each block which are not zero then.
 */
SEVERAL_TARGETS
static void divide_details(JBLOCKROW row, size_t blocks, const uint16_t ratio[DCTSIZE2], uint64_t *nonzero) {
  for (size_t x = 0; x < blocks; x++) {
    JCOEFPTR value = row[x];
    uint8_t flags[DCTSIZE2];
    for (int k = 0; k < DCTSIZE2; k++) {
      int16_t sign = (int16_t)(value[k] >> 15);
      uint16_t size = (uint16_t)((value[k] ^ sign) - sign);
      /* The product's halves apart: compilers see multiplications of 16 bits, which processors do many at once. */
      uint16_t high = (uint16_t)((uint32_t)size * ratio[k] >> 16), low = (uint16_t)((uint32_t)size * ratio[k]);
      uint16_t scaled = (uint16_t)(high + (low > HALF));
      value[k] = (JCOEF)((scaled ^ sign) - sign);
      flags[k] = scaled != 0;
    }
    nonzero[x] = as_bits(flags);
  }
}

/*
 * A block's mean, divided as if it were higher by `shift`; tells by how much it is too high now. An exact half goes away
 * from zero, and what shows as 255 is divided as 255: or a white ground would be gray, which nobody sees but a shop's
 * checks do.
 */
static int divide_mean(JBLOCK block, const plane *by, int shift) {
  int before = block[0] * by->old[0], wanted = before + shift, half = by->chosen[0] / 2;
  if (before >= HIGHEST - PIXEL / 2)
    wanted = HIGHEST;
  block[0] = (JCOEF)((wanted < 0 ? wanted - half : wanted + half) / by->chosen[0]);
  return block[0] * by->chosen[0] - before;
}

/*
 * By how much the means of luma should be higher where those of chroma became too high by so much. Red, green and blue are
 * sums of them (BT.601): with 0.48 and 0.23, the sum of their squared errors would be least. Three quarters of that have
 * most of the gain, and cost brightness little more than half.
 */
static int shift_of_luma(int blue_error, int red_error) { return -(36 * blue_error + 17 * red_error) / 100; }

static JBLOCKARRAY rows_of(job *work, const plane *of, JDIMENSION y, JDIMENSION rows) {
  return work->source.mem->access_virt_barray((j_common_ptr)&work->source, of->coefficients, y, rows, TRUE);
}

static void divide_row(job *work, plane *of, JBLOCKROW row) {
  divide_details(row, of->width, of->ratio, of->nonzero);
  for (JDIMENSION x = 0; x < of->width; x++)
    if (!count_details(of->details, row[x], of->nonzero[x]))
      leave(work, NOT_POSSIBLE);
}

/* The means of a row of MCUs, in the order in which they are written. */
static void count_means(job *work, plane *of, JBLOCKARRAY rows, JDIMENSION number) {
  for (JDIMENSION left = 0; left < of->width; left += of->across) {
    JDIMENSION right = left + of->across < of->width ? left + of->across : of->width;
    for (JDIMENSION y = 0; y < number; y++) {
      for (JDIMENSION x = left; x < right; x++) {
        if (!count_mean(of->means, rows[y][x][0] - of->mean))
          leave(work, NOT_POSSIBLE);
        of->mean = rows[y][x][0];
      }
    }
  }
}

/* Where the last MCUs across or down are not full, libjpeg fills them up with plain blocks like the one before. */
static void count_fillers(plane *of) {
  JDIMENSION across = (of->width + of->across - 1) / of->across, down = (of->height + of->down - 1) / of->down;
  long all = (long)across * of->across * down * of->down;
  count_plain_blocks(of->means, of->details, all - (long)of->width * of->height);
}

static void requantise_blocks(job *work, jvirt_barray_ptr *coefficients) {
  int has_chroma = work->source.num_components == 3;
  plane planes[3], *luma = &planes[0], *blue = &planes[1], *red = &planes[2];
  for (int number = 0; number < work->source.num_components; number++)
    planes[number] = open_plane(work, coefficients[number], number);
  /* A block of chroma lies on two by two of luma; gray has none. */
  size_t shifts_bytes = (luma->width + 1) / 2 * sizeof(int);
  int *shifts = allocate(work, shifts_bytes);
  memset(shifts, 0, shifts_bytes);
  for (JDIMENSION y = 0; y < luma->height; y += luma->down) {
    if (has_chroma) {
      JBLOCKARRAY blues = rows_of(work, blue, y / 2, 1), reds = rows_of(work, red, y / 2, 1);
      divide_row(work, blue, blues[0]);
      divide_row(work, red, reds[0]);
      for (JDIMENSION x = 0; x < blue->width; x++)
        shifts[x] = shift_of_luma(divide_mean(blues[0][x], blue, 0), divide_mean(reds[0][x], red, 0));
      count_means(work, blue, blues, 1);
      count_means(work, red, reds, 1);
    }
    JDIMENSION rows = y + luma->down <= luma->height ? luma->down : luma->height - y;
    JBLOCKARRAY brights = rows_of(work, luma, y, rows);
    for (JDIMENSION row = 0; row < rows; row++) {
      divide_row(work, luma, brights[row]);
      for (JDIMENSION x = 0; x < luma->width; x++)
        divide_mean(brights[row][x], luma, shifts[x / 2]);
    }
    count_means(work, luma, brights, rows);
  }
  count_fillers(luma);
  for (int table = 0; table <= has_chroma; table++) {
    choose_codes(work->target.dc_huff_tbl_ptrs[table], &work->means[table]);
    choose_codes(work->target.ac_huff_tbl_ptrs[table], &work->details[table]);
  }
}

static void set_target(job *work, int quality, size_t buffer_bytes) {
  struct jpeg_compress_struct *target = &work->target;
  jpeg_copy_critical_parameters(&work->source, target);
  /* The source's tables stay with its components: what is asked goes into the target's. */
  jpeg_set_quality(target, quality, TRUE);
  for (int table = 0; table < 2; table++)
    memcpy(work->asked[table], target->quant_tbl_ptrs[table]->quantval, sizeof work->asked[table]);
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

/* What may be left at any call of libjpeg's. Its caller holds the job, which is whole after that too. */
static void attempt(
    job *work, const unsigned char *data, size_t data_bytes, int quality, size_t max_pixels, size_t buffer_bytes,
    const unsigned char *icc, size_t icc_bytes, const unsigned char *exif, size_t exif_bytes) {
  if (setjmp(work->left) != 0)
    return;
  jpeg_create_decompress(&work->source);
  jpeg_create_compress(&work->target);
  read_header(work, data, data_bytes, max_pixels);
  jvirt_barray_ptr *coefficients = jpeg_read_coefficients(&work->source);
  set_target(work, quality, buffer_bytes);
  requantise_blocks(work, coefficients);
  jpeg_write_coefficients(&work->target, coefficients);
  if (icc_bytes > 0)
    jpeg_write_icc_profile(&work->target, icc, (unsigned int)icc_bytes);
  if (exif_bytes > 0)
    jpeg_write_marker(&work->target, JPEG_APP0 + 1, exif, (unsigned int)exif_bytes);
  jpeg_finish_compress(&work->target);
  work->outcome = REQUANTISED;
}

requantise_outcome requantise_jpeg(
    const unsigned char *data, size_t data_bytes, int quality, size_t max_pixels, size_t max_bytes,
    const unsigned char *icc, size_t icc_bytes, const unsigned char *exif, size_t exif_bytes,
    unsigned char **result, size_t *result_bytes) {
  job work;
  memset(&work, 0, sizeof work);
  work.source.err = work.target.err = jpeg_std_error(&work.errors);
  work.errors.error_exit = on_error;
  work.errors.emit_message = on_message;
  work.errors.output_message = say_nothing;
  work.outcome = NOT_POSSIBLE;
  /* One more than may be used: libjpeg holds a buffer to be full as soon as it is. */
  size_t buffer_bytes = max_bytes + 1;
  if (buffer_bytes == 0 || (work.buffer = malloc(buffer_bytes)) == NULL)
    return NOT_POSSIBLE;
  attempt(&work, data, data_bytes, quality, max_pixels, buffer_bytes, icc, icc_bytes, exif, exif_bytes);
  if (work.outcome == REQUANTISED) {
    *result = work.buffer;
    *result_bytes = buffer_bytes - work.destination.free_in_buffer;
  } else {
    free(work.buffer);
  }
  /* These may be called for what was never created: it is zero. */
  jpeg_destroy_compress(&work.target);
  jpeg_destroy_decompress(&work.source);
  return work.outcome;
}
