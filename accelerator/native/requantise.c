#include "requantise.h"

#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>

/* What libjpeg allocates beside the coefficients, with much room. */
#define OTHER_MEMORY_BYTES (1 << 20)

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

/*
 * Each coefficient x old quantiser / new quantiser, rounded, in fixed point of 16 bits; a ratio is at most 1. An exact half
 * goes towards zero: halves are common here, either way is as far off, and this one is 7 % fewer bytes.
 */
SEVERAL_TARGETS
static void requantise_blocks(JCOEFPTR value, size_t blocks, const uint32_t ratio[DCTSIZE2]) {
  for (; blocks > 0; blocks--, value += DCTSIZE2) {
    for (int k = 0; k < DCTSIZE2; k++) {
      int32_t sign = value[k] >> 15;
      uint32_t size = (uint32_t)((value[k] ^ sign) - sign);
      int32_t scaled = (int32_t)((size * ratio[k] + 0x7fff) >> 16);
      value[k] = (JCOEF)((scaled ^ sign) - sign);
    }
  }
}

static void requantise_component(job *work, int number, jvirt_barray_ptr coefficients) {
  struct jpeg_decompress_struct *source = &work->source;
  jpeg_component_info *component = &source->comp_info[number];
  int slot = work->target.comp_info[number].quant_tbl_no = choose_quantisers(work, number);
  const UINT16 *chosen = work->target.quant_tbl_ptrs[slot]->quantval, *old = component->quant_table->quantval;
  uint32_t ratio[DCTSIZE2];
  for (int k = 0; k < DCTSIZE2; k++)
    ratio[k] = ((uint32_t)old[k] << 16) / chosen[k];
  for (JDIMENSION row = 0; row < component->height_in_blocks; row++) {
    JBLOCKARRAY blocks = source->mem->access_virt_barray((j_common_ptr)source, coefficients, row, 1, TRUE);
    requantise_blocks(blocks[0][0], component->width_in_blocks, ratio);
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
  for (int number = 0; number < work->source.num_components; number++)
    requantise_component(work, number, coefficients[number]);
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
