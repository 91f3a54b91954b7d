#include "requantise.h"

#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>

/* What libjpeg allocates beside the coefficients, with much room. */
#define OTHER_MEMORY_BYTES (1 << 20)

/* What a mean is higher by where all of its block is higher by one; and that of a block of 255s, 127 above the middle. */
#define PIXEL 8
#define HIGHEST (127 * PIXEL)

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

/* How a component is divided: the quantisers of its source, those to write, their ratios in fixed point of 16 bits. */
typedef struct {
  const UINT16 *old, *chosen;
  uint32_t ratio[DCTSIZE2];
} division;

static division choose_division(job *work, int number) {
  int slot = work->target.comp_info[number].quant_tbl_no = choose_quantisers(work, number);
  division by = {work->source.comp_info[number].quant_table->quantval, work->target.quant_tbl_ptrs[slot]->quantval, {0}};
  for (int k = 0; k < DCTSIZE2; k++)
    by.ratio[k] = ((uint32_t)by.old[k] << 16) / by.chosen[k];
  by.ratio[0] = 1 << 16; /* the mean is divided apart */
  return by;
}

/*
 * Each coefficient but the mean x its ratio, rounded; a ratio is at most 1. An exact half goes towards zero: halves are
 * common here, either way is as far off, and this one is 7 % fewer bytes.
 */
SEVERAL_TARGETS
static void divide_details(JBLOCKROW row, size_t blocks, const uint32_t ratio[DCTSIZE2]) {
  JCOEFPTR value = row[0];
  for (; blocks > 0; blocks--, value += DCTSIZE2) {
    for (int k = 0; k < DCTSIZE2; k++) {
      int32_t sign = value[k] >> 15;
      uint32_t size = (uint32_t)((value[k] ^ sign) - sign);
      int32_t scaled = (int32_t)((size * ratio[k] + 0x7fff) >> 16);
      value[k] = (JCOEF)((scaled ^ sign) - sign);
    }
  }
}

/*
 * A block's mean, divided as if it were higher by `shift`; tells by how much it is too high now. An exact half goes away
 * from zero, and what shows as 255 is divided as 255: or a white ground would be gray, which nobody sees but a shop's
 * checks do.
 */
static int divide_mean(JBLOCK block, const division *by, int shift) {
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

static JBLOCKROW row_of(job *work, jvirt_barray_ptr coefficients, JDIMENSION y) {
  return work->source.mem->access_virt_barray((j_common_ptr)&work->source, coefficients, y, 1, TRUE)[0];
}

static void requantise_blocks(job *work, jvirt_barray_ptr *coefficients) {
  struct jpeg_decompress_struct *source = &work->source;
  const jpeg_component_info *luma = &source->comp_info[0], *chroma = &source->comp_info[1];
  division by[3];
  for (int number = 0; number < source->num_components; number++)
    by[number] = choose_division(work, number);
  /* A block of chroma lies on two by two of luma; gray has none. */
  size_t shifts_bytes = (luma->width_in_blocks + 1) / 2 * sizeof(int);
  int *shifts = source->mem->alloc_large((j_common_ptr)source, JPOOL_IMAGE, shifts_bytes);
  memset(shifts, 0, shifts_bytes);
  for (JDIMENSION y = 0; y < luma->height_in_blocks; y++) {
    if (source->num_components == 3 && y % 2 == 0) {
      JBLOCKROW blue = row_of(work, coefficients[1], y / 2), red = row_of(work, coefficients[2], y / 2);
      divide_details(blue, chroma->width_in_blocks, by[1].ratio);
      divide_details(red, chroma->width_in_blocks, by[2].ratio);
      for (JDIMENSION x = 0; x < chroma->width_in_blocks; x++)
        shifts[x] = shift_of_luma(divide_mean(blue[x], &by[1], 0), divide_mean(red[x], &by[2], 0));
    }
    JBLOCKROW bright = row_of(work, coefficients[0], y);
    divide_details(bright, luma->width_in_blocks, by[0].ratio);
    for (JDIMENSION x = 0; x < luma->width_in_blocks; x++)
      divide_mean(bright[x], &by[0], shifts[x / 2]);
  }
}

static void set_target(job *work, int quality, size_t buffer_bytes) {
  struct jpeg_compress_struct *target = &work->target;
  jpeg_copy_critical_parameters(&work->source, target);
  /* The source's tables stay with its components: what is asked goes into the target's. */
  jpeg_set_quality(target, quality, TRUE);
  for (int table = 0; table < 2; table++)
    memcpy(work->asked[table], target->quant_tbl_ptrs[table]->quantval, sizeof work->asked[table]);
  target->optimize_coding = TRUE;
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
